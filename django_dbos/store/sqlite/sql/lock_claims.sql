-- The fence of a batch; the transaction holds the only write lock there is.
SELECT workflow_id, claim_number, coalesce(deadline_at <= %(now)s, 0) AS is_past_deadline
FROM dbos_workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status = 'PENDING'
  AND executor_id = %(executor_id)s
