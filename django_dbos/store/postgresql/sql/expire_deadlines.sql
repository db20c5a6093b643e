-- Cancel workflows that are past their deadline, and take the claims of running ones. An array: see
-- claim_workflows. The time is a subquery, since an index can look up nothing else.
UPDATE dbos_workflow
SET status = 'CANCELLED',
    -- include: raise_claim_number
    -- include: keep_place
    -- include: forget_wait
    finished_at = clock_timestamp()
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
      AND deadline_at <= (SELECT clock_timestamp())
    ORDER BY deadline_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING
    workflow_id,
    -- include: freed_queue
