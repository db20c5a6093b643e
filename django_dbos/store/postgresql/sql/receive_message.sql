-- Consume the next message of one wait; receive_messages serves many. See record_checkpoint.
WITH held AS MATERIALIZED (
    -- include: held_workflow
    FOR NO KEY UPDATE SKIP LOCKED
),
taken AS MATERIALIZED (
    SELECT held.workflow_id, message.message_id, message.message
    FROM held
    CROSS JOIN LATERAL (
        SELECT message_id, message
        FROM dbos_message
        WHERE workflow_id = held.workflow_id
          AND topic = %(topic)s
          AND consumed_at IS NULL
        ORDER BY message_id
        LIMIT 1
    ) AS message
),
recorded AS (
    INSERT INTO dbos_checkpoint AS checkpoint (
        workflow_id, step_number, step_name, state, fingerprint, output, record_order,
        claim_number, started_at, recorded_at
    )
    SELECT
        workflow_id, %(step_number)s::int, %(step_name)s::text, 0, %(fingerprint)s::text, message,
        %(record_order)s::int, %(claim_number)s, clock_timestamp(), clock_timestamp()
    FROM taken
    -- include: replace_wait
    RETURNING step_number
),
consumed AS (
    UPDATE dbos_message AS message
    SET consumed_at = clock_timestamp(), consumed_step_number = %(step_number)s::int
    WHERE message_id = (SELECT taken.message_id FROM taken CROSS JOIN recorded)
)
SELECT taken.workflow_id, recorded.step_number, taken.message
FROM taken
CROSS JOIN recorded
