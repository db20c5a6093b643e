-- Give up recovered workflows that are past their recovery attempts.
UPDATE dbos_workflow
SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED',
    claim_number = claim_number + 1,
    place = 0,
    finished_at = %(now)s
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status = 'ENQUEUED'
  AND recovery_attempts > coalesce(max_recovery_attempts, %(max_recovery_attempts)s)
RETURNING workflow_id
