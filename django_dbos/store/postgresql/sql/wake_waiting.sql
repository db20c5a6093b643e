-- Enqueue workflows that wait for data that is there now: a message, an event, an entry of a stream.
-- The data was committed before. An array: see claim_workflows.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    -- Looked up one by one, whatever the statistics are.
    SELECT waiting.workflow_id
    FROM unnest(%(kinds)s::text[], %(target_ids)s::text[], %(names)s::text[])
        AS there (kind, target_id, name)
    CROSS JOIN LATERAL (
        SELECT workflow_id
        FROM dbos_workflow
        WHERE status = 'WAITING'
          AND wake_workflow_id = there.target_id
          AND wake_kind = there.kind
          AND wake_name = there.name
        FOR UPDATE SKIP LOCKED
    ) AS waiting
) || ARRAY(
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM unnest(%(kinds)s::text[], %(target_ids)s::text[], %(names)s::text[])
        AS there (kind, target_id, name)
    CROSS JOIN LATERAL (
        SELECT workflow_id, claim_number
        FROM dbos_wake
        WHERE wake_workflow_id = there.target_id
          AND wake_kind = there.kind
          AND wake_name = there.name
        OFFSET 0
    ) AS waiting
    -- include: locked_holder
))
RETURNING
    -- include: lane
