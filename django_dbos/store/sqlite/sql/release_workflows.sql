UPDATE dbos_workflow
SET status = 'ENQUEUED',
    claim_number = claim_number + 1,
    executor_id = NULL,
    queue_sequence = %(position)s
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status = 'PENDING'
  AND executor_id = %(executor_id)s
RETURNING workflow_id, queue_name, priority
