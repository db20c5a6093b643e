-- Enqueue workflows that wait for data that is there now. The data was committed before. An array:
-- see claim_workflows.
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
    WHERE there.kind <> 'result'
      AND waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
    FOR UPDATE OF waiting SKIP LOCKED
) || ARRAY(
    -- With a workflow all its streams end; with a quarantined one only these, which have no name.
    -- coalesce(): by its kind alone the index would find all that waits for a stream.
    SELECT waiting.workflow_id
    FROM unnest(%(kinds)s::text[], %(target_ids)s::text[], %(names)s::text[])
        AS there (kind, target_id, name)
    JOIN dbos_workflow AS waiting
      ON waiting.wake_workflow_id = there.target_id
     AND coalesce(waiting.wake_kind IN (there.kind, 'stream'), false)
    WHERE there.kind IN ('result', 'stream')
      AND there.name = ''
      AND waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
    FOR UPDATE OF waiting SKIP LOCKED
) || ARRAY(
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM unnest(%(kinds)s::text[], %(target_ids)s::text[], %(names)s::text[])
        AS there (kind, target_id, name)
    JOIN dbos_wake AS waiting
      ON waiting.wake_workflow_id = there.target_id
     AND (
         (waiting.wake_kind = there.kind AND waiting.wake_name = there.name)
         OR (
             there.kind IN ('result', 'stream')
             AND there.name = ''
             AND waiting.wake_kind IN (there.kind, 'stream')
         )
     )
    JOIN dbos_workflow AS holder
      ON holder.workflow_id = waiting.workflow_id AND holder.claim_number = waiting.claim_number
    WHERE holder.status = 'WAITING' AND holder.wake_kind = 'any'
    FOR UPDATE OF holder SKIP LOCKED
))
RETURNING
    -- include: lane
