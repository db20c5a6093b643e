-- The rows of workflows that this executor holds; each statement locks them in its own way.
SELECT workflow_id, claim_number
FROM dbos_workflow
WHERE workflow_id = ANY(%(workflow_id)s::text[])
  -- include: fence
ORDER BY workflow_id
