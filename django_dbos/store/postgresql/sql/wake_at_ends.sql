-- Enqueue workflows that wait for others that have ended. With a workflow all its streams end; with a
-- quarantined one, whose kind is 'stream', only these. A statement of its own: in wake_waiting it
-- would take every wake-up a third of the time more.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    -- Looked up one by one, whatever the statistics are. coalesce(): by its kind alone the index
    -- would find all that waits for a stream.
    SELECT waiting.workflow_id
    FROM unnest(%(workflow_ids)s::text[]) AS ended (workflow_id)
    CROSS JOIN LATERAL (
        SELECT workflow_id
        FROM dbos_workflow
        WHERE status = 'WAITING'
          AND wake_workflow_id = ended.workflow_id
          AND coalesce(wake_kind IN (%(kind)s::text, 'stream'), false)
        FOR UPDATE SKIP LOCKED
    ) AS waiting
) || ARRAY(
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM unnest(%(workflow_ids)s::text[]) AS ended (workflow_id)
    CROSS JOIN LATERAL (
        SELECT workflow_id, claim_number
        FROM dbos_wake
        WHERE wake_workflow_id = ended.workflow_id AND wake_kind IN (%(kind)s::text, 'stream')
        OFFSET 0
    ) AS waiting
    -- include: locked_holder
))
RETURNING
    -- include: lane
