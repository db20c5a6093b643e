-- Append to streams of workflows that this executor holds: the fence, the offsets and the rows in
-- one statement. All entries of a workflow are written, or none; the caller then finds out why.
WITH held AS MATERIALIZED (
    -- include: held_workflows
    FOR NO KEY UPDATE SKIP LOCKED
),
new AS MATERIALIZED (
    SELECT
        write.*,
        row_number() OVER (PARTITION BY write.workflow_id, write.key ORDER BY write.position)
            AS rank
    -- include: held_writes
),
stream AS MATERIALIZED (
    SELECT one.workflow_id, one.key, coalesce(tail."offset", -1) AS last, tail.is_end
    FROM (SELECT DISTINCT workflow_id, key FROM new) AS one
    LEFT JOIN LATERAL (
        SELECT "offset", is_end
        FROM dbos_stream_entry
        WHERE workflow_id = one.workflow_id AND key = one.key
        ORDER BY "offset" DESC
        LIMIT 1
    ) AS tail ON true
),
stopped AS MATERIALIZED (
    SELECT workflow_id FROM stream WHERE is_end
    UNION
    -- include: recorded_before
),
entry AS MATERIALIZED (
    SELECT new.*, stream.last + new.rank AS "offset"
    FROM new
    JOIN stream ON stream.workflow_id = new.workflow_id AND stream.key = new.key
    WHERE new.workflow_id NOT IN (SELECT workflow_id FROM stopped)
),
recorded AS (
    -- include: into_checkpoints_of_writes
    SELECT
        workflow_id, step_number, step_name, 0, fingerprint, record_order, claim_number,
        clock_timestamp(), clock_timestamp()
    FROM entry
    WHERE step_name IS NOT NULL
)
-- include: into_entries
SELECT workflow_id, key, "offset", value, false, step_number, write_id, clock_timestamp()
FROM entry
RETURNING workflow_id, write_id, "offset"
