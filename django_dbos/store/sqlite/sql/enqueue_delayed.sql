-- Enqueue a delayed workflow at once.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    due_at = NULL,
    queue_sequence = (
        -- include: next_position
    )
WHERE workflow_id = %(workflow_id)s AND status = 'DELAYED'
RETURNING
    -- include: lane
