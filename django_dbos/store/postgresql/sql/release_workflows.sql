-- Gives claims back to their queues, uncounted.
-- What somebody's open transaction has locked is left out, as in recover_workflows.
-- coalesce(): see lock_claims. A row with the last claim number there is keeps it, and must not fail
-- the others: the next claim fails for that row alone.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    claim_number = least(claim_number, 2147483646) + 1,
    executor_id = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = ANY(%(workflow_ids)s::text[])
      AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
    ORDER BY workflow_id
    FOR UPDATE SKIP LOCKED
))
RETURNING workflow_id, queue_name, priority
