-- Enqueue delayed workflows that are due, and waits whose deadline has passed. An array: see
-- claim_workflows. The time is a subquery, since an index can look up nothing else.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'WAITING') AND due_at <= (SELECT clock_timestamp())
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING
    -- include: lane
