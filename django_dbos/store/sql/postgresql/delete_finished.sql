-- Finished workflows past their age, the oldest first, with all that belongs to them.
-- The time as a subquery: only so can the index look it up.
WITH old AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE created_at < (SELECT clock_timestamp() - make_interval(secs => %(age)s))
      AND finished_at < clock_timestamp() - make_interval(secs => %(age)s)
      AND NOT is_set_aside
    ORDER BY created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
checkpoints AS (
    DELETE FROM dbos_checkpoint WHERE workflow_id IN (SELECT workflow_id FROM old)
),
messages AS (
    DELETE FROM dbos_message WHERE workflow_id IN (SELECT workflow_id FROM old)
),
events AS (
    DELETE FROM dbos_event WHERE workflow_id IN (SELECT workflow_id FROM old)
),
event_versions AS (
    DELETE FROM dbos_event_version WHERE workflow_id IN (SELECT workflow_id FROM old)
),
entries AS (
    DELETE FROM dbos_stream_entry WHERE workflow_id IN (SELECT workflow_id FROM old)
)
DELETE FROM dbos_workflow WHERE workflow_id IN (SELECT workflow_id FROM old)
RETURNING workflow_id
