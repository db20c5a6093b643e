-- Gives claims back to their queues, uncounted.
-- coalesce(): see lock_claims.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    claim_number = claim_number + 1,
    executor_id = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
RETURNING workflow_id, queue_name, priority
