-- Mark messages as consumed. ANY: see finish_workflows.
UPDATE dbos_message AS message
SET consumed_at = clock_timestamp(), consumed_step_number = taken.step_number
FROM unnest(%(message_id)s::bigint[], %(step_number)s::int[]) AS taken (message_id, step_number)
WHERE message.message_id = ANY(ARRAY[taken.message_id])
