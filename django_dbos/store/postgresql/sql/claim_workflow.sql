-- Claim one workflow by its id, for an executor that awaits its result; see claim_placed for those
-- of managed queues. coalesce(): the row is found by its id, not through the queues' indexes.
UPDATE dbos_workflow AS workflow
-- include: take_claim
FROM (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND coalesce(status = 'ENQUEUED', false)
      -- include: not_managed
    FOR UPDATE SKIP LOCKED
) AS chosen
WHERE workflow.workflow_id = ANY(ARRAY[chosen.workflow_id])
-- include: return_claim
