-- Consumes the next message of one wait, as receive_messages does of any number. See
-- record_checkpoint.
WITH held AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND claim_number = %(claim_number)s
      AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
      AND (deadline_at IS NULL OR deadline_at > clock_timestamp())
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
    ON CONFLICT (workflow_id, step_number) DO UPDATE
    SET state = 0,
        output = excluded.output,
        record_order = excluded.record_order,
        claim_number = excluded.claim_number,
        recorded_at = excluded.recorded_at
    -- The deadline of this very wait, which it replaces.
    WHERE checkpoint.state = 1 AND checkpoint.step_name = excluded.step_name
    RETURNING step_number
),
consumed AS (
    UPDATE dbos_message AS message
    SET consumed_at = clock_timestamp(), consumed_step_number = recorded.step_number
    FROM taken
    CROSS JOIN recorded
    WHERE message.message_id = taken.message_id
)
SELECT taken.workflow_id, recorded.step_number, taken.message
FROM taken
CROSS JOIN recorded
