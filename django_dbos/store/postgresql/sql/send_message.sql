-- Store one message, if its receiver exists. It stands apart for the reason given in
-- insert_workflow.
INSERT INTO dbos_message (workflow_id, topic, message, idempotency_key, sender_id, created_at)
SELECT
    workflow_id, %(topic)s, %(message)s, %(idempotency_key)s, %(sender_id)s, clock_timestamp()
FROM dbos_workflow
WHERE workflow_id = %(workflow_id)s
ON CONFLICT DO NOTHING
