-- The workflow that waits for these things, if it still does.
JOIN dbos_workflow AS holder
  ON holder.workflow_id = waiting.workflow_id AND holder.claim_number = waiting.claim_number
WHERE holder.status = 'WAITING' AND holder.wake_kind = 'any'
