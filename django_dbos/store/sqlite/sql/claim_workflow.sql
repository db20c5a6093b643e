-- Claim one workflow by its id, for an executor that awaits its result; see claim_placed for those
-- of managed queues.
UPDATE dbos_workflow
-- include: take_claim
WHERE workflow_id = %(workflow_id)s
  AND status = 'ENQUEUED'
  -- include: not_managed
-- include: return_claim
