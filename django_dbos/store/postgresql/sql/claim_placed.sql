-- Claim a workflow of a managed queue by its id, under the lock of the queue.
UPDATE dbos_workflow AS workflow
-- include: take_claim
    ,
    place = CASE WHEN workflow.place > 0 THEN workflow.place ELSE %(place)s END
FROM (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s AND status = 'ENQUEUED' AND executor_id IS NULL
    FOR UPDATE SKIP LOCKED
) AS chosen
WHERE workflow.workflow_id = chosen.workflow_id
-- include: return_claim
