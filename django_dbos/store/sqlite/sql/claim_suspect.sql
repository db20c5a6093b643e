-- Claim one suspect: a workflow whose executors died again and again while they ran it.
UPDATE dbos_workflow
-- include: take_claim
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND queue_name IN (SELECT value FROM json_each(%(queue_names)s))
      -- include: is_known
      AND recovery_attempts >= 3
      -- include: not_managed
    ORDER BY queue_sequence
    LIMIT 1
)
  -- include: live_executor
-- include: return_claim
