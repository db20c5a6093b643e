-- Take the fence of a batch: lock the rows of workflows that this executor holds. The statement
-- never waits: it leaves out rows that another transaction has locked.
SELECT
    workflow_id,
    claim_number,
    coalesce(deadline_at <= clock_timestamp(), false) AS is_past_deadline
FROM dbos_workflow
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  -- include: held_here
ORDER BY workflow_id
FOR NO KEY UPDATE SKIP LOCKED
