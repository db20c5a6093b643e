-- Return the first of the children that a step has started and that ended without success, and how
-- many there are. coalesce(): found by their parent, not among all that have failed.
SELECT count(*) OVER () AS failed, workflow_id, error
FROM dbos_workflow
WHERE parent_id = %(parent_id)s
  AND parent_step_number = %(step_number)s
  AND coalesce(status IN ('CANCELLED', 'ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'), false)
  AND NOT is_quarantined
ORDER BY finished_at, queue_sequence
LIMIT 1
