-- Sets one event, as record_events sets any number. See record_checkpoint.
WITH held AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND claim_number = %(claim_number)s
      AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
      AND (deadline_at IS NULL OR deadline_at > clock_timestamp())
    FOR NO KEY UPDATE SKIP LOCKED
),
event AS MATERIALIZED (
    SELECT held.workflow_id, coalesce(before.version, 0) + 1 AS version
    FROM held
    LEFT JOIN dbos_event AS before
      ON before.workflow_id = held.workflow_id AND before.key = %(key)s
    WHERE %(step_name)s::text IS NULL
       OR NOT EXISTS (
           SELECT
           FROM dbos_checkpoint
           WHERE workflow_id = %(workflow_id)s AND step_number = %(step_number)s::int
       )
),
recorded AS (
    INSERT INTO dbos_checkpoint (
        workflow_id, step_number, step_name, state, fingerprint, record_order, claim_number,
        started_at, recorded_at
    )
    SELECT
        workflow_id, %(step_number)s::int, %(step_name)s::text, 0, %(fingerprint)s::text,
        %(record_order)s::int, %(claim_number)s, clock_timestamp(), clock_timestamp()
    FROM event
    WHERE %(step_name)s::text IS NOT NULL
),
latest AS (
    INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
    SELECT workflow_id, %(key)s, %(value)s::text, version, clock_timestamp()
    FROM event
    ON CONFLICT (workflow_id, key) DO UPDATE
    SET value = excluded.value, version = excluded.version, updated_at = excluded.updated_at
)
INSERT INTO dbos_event_version (
    workflow_id, key, version, value, step_number, write_id, created_at
)
SELECT
    workflow_id, %(key)s, version, %(value)s::text, %(step_number)s::int, %(write_id)s::uuid,
    clock_timestamp()
FROM event
RETURNING workflow_id, write_id, version
