-- Take the fence of a batch: the transaction holds the only write lock.
SELECT workflow_id, claim_number, coalesce(deadline_at <= %(now)s, 0) AS is_past_deadline
FROM dbos_workflow AS workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  -- include: held_here
