-- Append one entry; append_entries appends many. See record_checkpoint.
WITH held AS MATERIALIZED (
    -- include: held_workflow
    FOR NO KEY UPDATE SKIP LOCKED
),
entry AS MATERIALIZED (
    SELECT held.workflow_id, coalesce(tail."offset", -1) + 1 AS "offset"
    FROM held
    LEFT JOIN LATERAL (
        SELECT "offset", is_end
        FROM dbos_stream_entry
        WHERE workflow_id = held.workflow_id AND key = %(key)s
        ORDER BY "offset" DESC
        LIMIT 1
    ) AS tail ON true
    WHERE tail.is_end IS NOT true
      AND (
          %(step_name)s::text IS NULL
          OR NOT EXISTS (
              SELECT
              FROM dbos_checkpoint
              WHERE workflow_id = %(workflow_id)s AND step_number = %(step_number)s::int
          )
      )
),
recorded AS (
    -- include: into_checkpoints_of_writes
    SELECT
        workflow_id, %(step_number)s::int, %(step_name)s::text, 0, %(fingerprint)s::text,
        %(record_order)s::int, %(claim_number)s, clock_timestamp(), clock_timestamp()
    FROM entry
    WHERE %(step_name)s::text IS NOT NULL
)
-- include: into_entries
SELECT
    workflow_id, %(key)s, "offset", %(value)s::text, false, %(step_number)s::int,
    %(write_id)s::uuid, clock_timestamp()
FROM entry
RETURNING workflow_id, write_id, "offset"
