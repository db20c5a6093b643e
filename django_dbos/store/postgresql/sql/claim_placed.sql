-- Claim a workflow of a managed queue by its id, under the lock of the queue. coalesce(), ANY: see
-- claim_workflow.
UPDATE dbos_workflow AS workflow
-- include: take_claim
    ,
    place = CASE WHEN workflow.place > 0 THEN workflow.place ELSE %(place)s END
FROM (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND coalesce(status = 'ENQUEUED' AND executor_id IS NULL, false)
    FOR UPDATE SKIP LOCKED
) AS chosen
WHERE workflow.workflow_id = ANY(ARRAY[chosen.workflow_id])
-- include: return_claim
