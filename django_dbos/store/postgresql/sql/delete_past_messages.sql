-- Delete the messages that runs which end have consumed. One with an idempotency key stays: the
-- same message may be sent once more.
DELETE FROM dbos_message
WHERE workflow_id = ANY(%(workflow_id)s::text[])
  AND consumed_at IS NOT NULL
  AND idempotency_key IS NULL
