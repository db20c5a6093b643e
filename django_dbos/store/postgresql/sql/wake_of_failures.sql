-- Enqueue workflows of whose children too many have failed, with these. A statement of its own: in
-- wake_waiting it would take every wake-up half the time more.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    SELECT holder.workflow_id
    FROM unnest(%(workflow_ids)s::text[]) AS failed (workflow_id)
    -- OFFSET 0 keeps it a look-up for each: planned while the table is small, it would be a scan.
    CROSS JOIN LATERAL (
        SELECT parent_id, parent_step_number
        FROM dbos_workflow
        WHERE workflow_id = failed.workflow_id
        OFFSET 0
    ) AS child
    JOIN dbos_wake AS waiting ON waiting.wake_workflow_id = child.parent_id
    JOIN dbos_workflow AS holder
      ON holder.workflow_id = waiting.workflow_id AND holder.claim_number = waiting.claim_number
    WHERE waiting.wake_kind = 'failures'
      AND waiting.wake_name = child.parent_step_number::text
      AND holder.status = 'WAITING'
      AND holder.wake_kind = 'any'
      -- include: is_satisfied
    FOR UPDATE OF holder SKIP LOCKED
))
RETURNING
    -- include: lane
