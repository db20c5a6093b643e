-- Consume the next message of each wait, and record it as the wait's outcome: the fence, the search
-- and the rows in one statement. A wait that isn't returned is undecided; the caller finds out why.
WITH held AS MATERIALIZED (
    -- include: held_workflows
    FOR NO KEY UPDATE SKIP LOCKED
),
taken AS MATERIALIZED (
    SELECT wait.*, message.message_id, message.message
    FROM unnest(
        %(workflow_id)s::text[], %(step_number)s::int[], %(step_name)s::text[],
        %(fingerprint)s::text[], %(record_order)s::int[], %(claim_number)s::int[],
        %(topic)s::text[]
    ) AS wait (
        workflow_id, step_number, step_name, fingerprint, record_order, claim_number, topic
    )
    JOIN held ON held.workflow_id = wait.workflow_id AND held.claim_number = wait.claim_number
    CROSS JOIN LATERAL (
        SELECT message_id, message
        FROM dbos_message
        WHERE workflow_id = wait.workflow_id
          AND topic = wait.topic
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
        workflow_id, step_number, step_name, 0, fingerprint, message, record_order,
        claim_number, clock_timestamp(), clock_timestamp()
    FROM taken
    -- include: replace_wait
    RETURNING workflow_id, step_number
),
consumed AS (
    UPDATE dbos_message AS message
    SET consumed_at = clock_timestamp(), consumed_step_number = taken.step_number
    FROM taken
    JOIN recorded
      ON recorded.workflow_id = taken.workflow_id AND recorded.step_number = taken.step_number
    -- ANY: see finish_workflows.
    WHERE message.message_id = ANY(ARRAY[taken.message_id])
)
SELECT taken.workflow_id, taken.step_number, taken.message
FROM taken
JOIN recorded
  ON recorded.workflow_id = taken.workflow_id AND recorded.step_number = taken.step_number
