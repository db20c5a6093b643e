-- Delete the messages that a run which ends has consumed. One with an idempotency key stays: the
-- same message may be sent once more.
DELETE FROM dbos_message
WHERE workflow_id = %(workflow_id)s AND consumed_at IS NOT NULL AND idempotency_key IS NULL
