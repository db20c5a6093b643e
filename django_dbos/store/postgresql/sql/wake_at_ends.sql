-- Enqueue workflows that wait for others that have ended. With a workflow all its streams end; with a
-- quarantined one, whose kind is 'stream', only these. A statement of its own: in wake_waiting it
-- would take every wake-up a third of the time more.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    -- coalesce(): by its kind alone the index would find all that waits for a stream.
    SELECT waiting.workflow_id
    FROM unnest(%(workflow_ids)s::text[]) AS ended (workflow_id)
    JOIN dbos_workflow AS waiting
      ON waiting.wake_workflow_id = ended.workflow_id
     AND coalesce(waiting.wake_kind IN (%(kind)s::text, 'stream'), false)
    WHERE waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
    FOR UPDATE OF waiting SKIP LOCKED
) || ARRAY(
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM unnest(%(workflow_ids)s::text[]) AS ended (workflow_id)
    JOIN dbos_wake AS waiting
      ON waiting.wake_workflow_id = ended.workflow_id
     AND waiting.wake_kind IN (%(kind)s::text, 'stream')
    -- include: holder_of_wakes
    FOR UPDATE OF holder SKIP LOCKED
))
RETURNING
    -- include: lane
