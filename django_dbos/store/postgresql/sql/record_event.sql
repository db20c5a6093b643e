-- Set one event; record_events sets many. See record_checkpoint.
WITH held AS MATERIALIZED (
    -- include: held_workflow
    FOR NO KEY UPDATE SKIP LOCKED
),
event AS MATERIALIZED (
    SELECT held.workflow_id, coalesce(before.version, 0) + 1 AS version
    FROM held
    LEFT JOIN LATERAL (
        SELECT version
        FROM dbos_event
        WHERE workflow_id = held.workflow_id AND key = %(key)s
        OFFSET 0
    ) AS before ON true
    WHERE %(step_name)s::text IS NULL
       OR NOT EXISTS (
           SELECT
           FROM dbos_checkpoint
           WHERE workflow_id = %(workflow_id)s AND step_number = %(step_number)s::int
       )
),
recorded AS (
    -- include: into_checkpoints_of_writes
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
    -- include: replace_event
)
-- include: into_event_versions
SELECT
    workflow_id, %(key)s, version, %(value)s::text, %(step_number)s::int, %(write_id)s::uuid,
    clock_timestamp()
FROM event
RETURNING workflow_id, write_id, version
