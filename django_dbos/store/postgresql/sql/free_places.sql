-- Free places that linger with an executor, once the functions have returned there. Rows that an
-- open transaction has locked, or that changed since they were listed, are left out.
UPDATE dbos_workflow
SET executor_id = NULL,
    -- include: free_place
WHERE workflow_id = ANY(ARRAY(
    SELECT lingering.workflow_id
    FROM unnest(%(workflow_ids)s::text[], %(claim_numbers)s::int[])
        AS listed (workflow_id, claim_number)
    JOIN dbos_workflow AS lingering ON lingering.workflow_id = listed.workflow_id
    WHERE lingering.claim_number = listed.claim_number
      AND coalesce(
          lingering.status <> 'PENDING' AND lingering.executor_id = %(executor_id)s, false
      )
    FOR UPDATE OF lingering SKIP LOCKED
))
RETURNING workflow_id, queue_name
