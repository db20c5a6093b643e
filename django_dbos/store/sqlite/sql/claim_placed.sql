-- Claim a workflow of a managed queue, or one with a partition key, by its id.
UPDATE dbos_workflow
-- include: take_claim
    ,
    place = CASE WHEN place > 0 THEN place ELSE %(place)s END
WHERE workflow_id = %(workflow_id)s AND status = 'ENQUEUED' AND executor_id IS NULL
-- include: return_claim
