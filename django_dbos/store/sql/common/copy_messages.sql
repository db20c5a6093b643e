-- Give a fork the messages that the steps which it has got have consumed. + 0: sorted, so that they
-- aren't searched among the messages of all workflows in their order.
INSERT INTO dbos_message (
    workflow_id, topic, message, idempotency_key, sender_id, created_at, consumed_at,
    consumed_step_number
)
SELECT
    %(workflow_id)s, topic, message, idempotency_key, sender_id, created_at, consumed_at,
    consumed_step_number
FROM dbos_message AS original
WHERE original.workflow_id = %(source_id)s
  AND original.consumed_step_number < %(step_number)s
  AND EXISTS (
      SELECT 1
      FROM dbos_checkpoint AS kept
      WHERE kept.workflow_id = %(workflow_id)s
        AND kept.step_number = original.consumed_step_number
  )
ORDER BY original.message_id + 0
