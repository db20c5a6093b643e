-- Claim one workflow by its id, for an executor that awaits its result.
UPDATE dbos_workflow
-- include: take_claim
WHERE workflow_id = %(workflow_id)s AND status = 'ENQUEUED'
-- include: return_claim
