-- Claim the workflows that a walk through the queue has chosen.
UPDATE dbos_workflow
-- include: take_claim
    ,
    place = CASE WHEN place > 0 THEN place ELSE %(place)s END
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status = 'ENQUEUED'
  -- include: live_executor
-- include: return_claim
