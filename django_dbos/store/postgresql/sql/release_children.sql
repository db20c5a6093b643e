-- Enqueue children that are held behind others, if their parent's claim still holds. The lock on its
-- row keeps another run of it from doing so at the same time.
WITH held AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(parent_id)s
      AND claim_number = %(claim_number)s
      AND status = 'PENDING'
    FOR NO KEY UPDATE
)
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = ANY(%(workflow_ids)s::text[])
      AND coalesce(status = 'WAITING' AND claim_number = 0 AND wake_kind = 'result', false)
      AND EXISTS (SELECT FROM held)
    FOR UPDATE SKIP LOCKED
))
RETURNING
    -- include: lane
