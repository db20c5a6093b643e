-- Cancel workflows that are past their deadline, and take the claims of running ones.
UPDATE dbos_workflow
SET status = 'CANCELLED',
    -- include: raise_claim_number
    -- include: keep_place
    -- include: forget_wait
    finished_at = %(now)s
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING') AND deadline_at <= %(now)s
    ORDER BY deadline_at
    LIMIT %(limit)s
)
RETURNING
    workflow_id,
    -- include: freed_queue
