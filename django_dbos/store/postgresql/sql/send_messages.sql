-- Store messages for existing workflows. If a receiver is missing, it is returned and no message is
-- stored.
WITH sent AS (
    SELECT *
    FROM unnest(
        %(workflow_id)s::text[], %(topic)s::text[], %(message)s::text[],
        %(idempotency_key)s::text[], %(sender_id)s::text[]
    ) WITH ORDINALITY
        AS one (workflow_id, topic, message, idempotency_key, sender_id, position)
),
missing AS (
    SELECT workflow_id
    FROM sent
    WHERE NOT EXISTS (
        SELECT FROM dbos_workflow WHERE workflow_id = sent.workflow_id OFFSET 0
    )
),
inserted AS (
    INSERT INTO dbos_message
        (workflow_id, topic, message, idempotency_key, sender_id, created_at)
    SELECT workflow_id, topic, message, idempotency_key, sender_id, clock_timestamp()
    FROM sent
    WHERE NOT EXISTS (SELECT FROM missing)
    ORDER BY position
    ON CONFLICT DO NOTHING
)
SELECT workflow_id FROM missing
