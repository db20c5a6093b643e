-- Append to streams of workflows that this executor holds: the fence, the offsets and the rows in
-- one statement. All entries of a workflow are written, or none; the caller then finds out why.
WITH held AS MATERIALIZED (
    -- include: held_workflows
    FOR NO KEY UPDATE SKIP LOCKED
),
new AS MATERIALIZED (
    SELECT
        entry.*,
        row_number() OVER (PARTITION BY entry.workflow_id, entry.key ORDER BY entry.position)
            AS rank
    FROM unnest(
        %(workflow_id)s::text[], %(claim_number)s::int[], %(key)s::text[], %(value)s::text[],
        %(step_number)s::int[], %(write_id)s::uuid[], %(step_name)s::text[],
        %(fingerprint)s::text[], %(record_order)s::int[]
    ) WITH ORDINALITY AS entry (
        workflow_id, claim_number, key, value, step_number, write_id, step_name, fingerprint,
        record_order, position
    )
    JOIN held ON held.workflow_id = entry.workflow_id AND held.claim_number = entry.claim_number
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
    SELECT new.workflow_id
    FROM new
    CROSS JOIN LATERAL (
        SELECT
        FROM dbos_checkpoint
        WHERE workflow_id = new.workflow_id AND step_number = new.step_number
        OFFSET 0
    ) AS recorded
    WHERE new.step_name IS NOT NULL
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
