-- Free places that linger with an executor, once the functions have returned there. Rows that an
-- open transaction has locked, or that changed since they were listed, are left out.
UPDATE dbos_workflow
SET executor_id = NULL,
    -- include: free_place
WHERE workflow_id = ANY(ARRAY(
    SELECT lingering.workflow_id
    FROM unnest(%(workflow_ids)s::text[], %(claim_numbers)s::int[])
        AS listed (workflow_id, claim_number)
    CROSS JOIN LATERAL (
        SELECT workflow_id
        FROM dbos_workflow
        WHERE workflow_id = listed.workflow_id
          AND claim_number = listed.claim_number
          AND coalesce(status <> 'PENDING' AND executor_id = %(executor_id)s, false)
        FOR UPDATE SKIP LOCKED
    ) AS lingering
))
RETURNING workflow_id, queue_name
