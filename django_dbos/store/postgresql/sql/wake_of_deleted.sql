-- Enqueue workflows that wait for an event or the result of others, which are gone: they learn of that
-- by an error. Streams have ended with their workflows, and those that wait for any of several things
-- go on waiting for the others.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    -- Looked up one by one, whatever the statistics are. coalesce(): by its kind alone the index
    -- would find all that waits for an event.
    SELECT waiting.workflow_id
    FROM unnest(%(workflow_ids)s::text[]) AS gone (workflow_id)
    CROSS JOIN LATERAL (
        SELECT workflow_id
        FROM dbos_workflow
        WHERE status = 'WAITING'
          AND wake_workflow_id = gone.workflow_id
          AND coalesce(wake_kind IN ('event', 'result'), false)
        FOR UPDATE SKIP LOCKED
    ) AS waiting
))
RETURNING
    -- include: lane
