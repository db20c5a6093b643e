-- Set events of workflows that this executor holds: the fence, the versions and the rows in one
-- statement. All events of a workflow are set, or none; the caller then finds out why.
WITH held AS MATERIALIZED (
    -- include: held_workflows
    FOR NO KEY UPDATE SKIP LOCKED
),
new AS MATERIALIZED (
    SELECT
        write.*,
        coalesce(before.version, 0)
            + row_number() OVER (PARTITION BY write.workflow_id, write.key ORDER BY write.position)
            AS version
    -- include: held_writes
    LEFT JOIN LATERAL (
        SELECT version
        FROM dbos_event
        WHERE workflow_id = write.workflow_id AND key = write.key
        OFFSET 0
    ) AS before ON true
),
stopped AS MATERIALIZED (
    -- include: recorded_before
),
event AS MATERIALIZED (
    SELECT * FROM new WHERE workflow_id NOT IN (SELECT workflow_id FROM stopped)
),
recorded AS (
    -- include: into_checkpoints_of_writes
    SELECT
        workflow_id, step_number, step_name, 0, fingerprint, record_order, claim_number,
        clock_timestamp(), clock_timestamp()
    FROM event
    WHERE step_name IS NOT NULL
),
latest AS (
    INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
    SELECT DISTINCT ON (workflow_id, key) workflow_id, key, value, version, clock_timestamp()
    FROM event
    ORDER BY workflow_id, key, version DESC
    -- include: replace_event
)
-- include: into_event_versions
SELECT workflow_id, key, version, value, step_number, write_id, clock_timestamp()
FROM event
RETURNING workflow_id, write_id, version
