-- Enqueue a delayed workflow at once.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    due_at = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = %(workflow_id)s AND status = 'DELAYED'
RETURNING
    -- include: lane
