-- The fence of a batch: locks the rows of workflows that this executor holds.
-- It never waits: a row that somebody else has locked is left out.
-- By key, and by nothing else: the index of what an executor holds is full of what it held, as long
-- as somebody's old snapshot lasts. Nothing can look up a coalesce() in an index.
SELECT
    workflow_id,
    claim_number,
    coalesce(deadline_at <= clock_timestamp(), false) AS is_past_deadline
FROM dbos_workflow
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
ORDER BY workflow_id
FOR NO KEY UPDATE SKIP LOCKED
