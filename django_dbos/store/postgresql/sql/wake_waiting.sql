-- Enqueue workflows that wait for data that is there now: a message, an event, an entry of a stream.
-- The data was committed before. An array: see claim_workflows.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    SELECT waiting.workflow_id
    FROM unnest(%(kinds)s::text[], %(target_ids)s::text[], %(names)s::text[])
        AS there (kind, target_id, name)
    JOIN dbos_workflow AS waiting
      ON waiting.wake_workflow_id = there.target_id
     AND waiting.wake_kind = there.kind
     AND waiting.wake_name = there.name
    WHERE waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
    FOR UPDATE OF waiting SKIP LOCKED
) || ARRAY(
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM unnest(%(kinds)s::text[], %(target_ids)s::text[], %(names)s::text[])
        AS there (kind, target_id, name)
    JOIN dbos_wake AS waiting
      ON waiting.wake_workflow_id = there.target_id
     AND waiting.wake_kind = there.kind
     AND waiting.wake_name = there.name
    -- include: holder_of_wakes
    FOR UPDATE OF holder SKIP LOCKED
))
RETURNING
    -- include: lane
