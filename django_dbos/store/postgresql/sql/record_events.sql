-- Set events of workflows that this executor holds: the fence, the versions and the rows in one
-- statement. All events of a workflow are set, or none; the caller then finds out why.
WITH held AS MATERIALIZED (
    -- include: held_workflows
    FOR NO KEY UPDATE SKIP LOCKED
),
new AS MATERIALIZED (
    SELECT
        event.*,
        coalesce(before.version, 0)
            + row_number() OVER (PARTITION BY event.workflow_id, event.key ORDER BY event.position)
            AS version
    FROM unnest(
        %(workflow_id)s::text[], %(claim_number)s::int[], %(key)s::text[], %(value)s::text[],
        %(step_number)s::int[], %(write_id)s::uuid[], %(step_name)s::text[],
        %(fingerprint)s::text[], %(record_order)s::int[]
    ) WITH ORDINALITY AS event (
        workflow_id, claim_number, key, value, step_number, write_id, step_name, fingerprint,
        record_order, position
    )
    JOIN held ON held.workflow_id = event.workflow_id AND held.claim_number = event.claim_number
    LEFT JOIN LATERAL (
        SELECT version
        FROM dbos_event
        WHERE workflow_id = event.workflow_id AND key = event.key
        OFFSET 0
    ) AS before ON true
),
stopped AS MATERIALIZED (
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
