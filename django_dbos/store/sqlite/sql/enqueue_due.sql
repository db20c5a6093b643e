-- Enqueue delayed workflows that are due, and waits whose deadline has passed.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'WAITING') AND due_at <= %(now)s
    ORDER BY due_at
    LIMIT %(limit)s
)
RETURNING
    -- include: lane
