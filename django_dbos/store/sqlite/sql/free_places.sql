-- Free places that linger with an executor, once the functions have returned there; none that has
-- changed since it was listed.
UPDATE dbos_workflow
SET executor_id = NULL,
    -- include: free_place
WHERE (workflow_id, claim_number) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%(rows)s)
)
  AND status <> 'PENDING'
  AND executor_id = %(executor_id)s
RETURNING workflow_id, queue_name
