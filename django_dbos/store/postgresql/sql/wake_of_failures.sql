-- Enqueue workflows of whose children too many have failed, with these. A statement of its own: in
-- wake_waiting it would take every wake-up half the time more.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    SELECT holder.workflow_id
    FROM unnest(%(workflow_ids)s::text[]) AS failed (workflow_id)
    -- Looked up one by one, whatever the statistics are.
    CROSS JOIN LATERAL (
        SELECT parent_id, parent_step_number
        FROM dbos_workflow
        WHERE workflow_id = failed.workflow_id
        OFFSET 0
    ) AS child
    CROSS JOIN LATERAL (
        SELECT waiting.workflow_id, waiting.claim_number
        FROM dbos_wake AS waiting
        WHERE waiting.wake_workflow_id = child.parent_id
          AND waiting.wake_kind = 'failures'
          AND waiting.wake_name = child.parent_step_number::text
          -- include: is_satisfied
        OFFSET 0
    ) AS waiting
    -- include: locked_holder
))
RETURNING
    -- include: lane
