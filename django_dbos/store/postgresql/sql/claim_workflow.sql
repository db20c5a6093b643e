-- Claim one workflow by its id, for an executor that awaits its result; see claim_placed for those
-- of managed queues.
UPDATE dbos_workflow AS workflow
-- include: take_claim
FROM (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND status = 'ENQUEUED'
      -- include: not_managed
    FOR UPDATE SKIP LOCKED
) AS chosen
WHERE workflow.workflow_id = chosen.workflow_id
-- include: return_claim
