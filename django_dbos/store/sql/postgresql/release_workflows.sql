-- Gives claims back to their queues, uncounted.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    claim_number = claim_number + 1,
    executor_id = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND status = 'PENDING'
  AND executor_id = %(executor_id)s
RETURNING workflow_id, queue_name, priority
