-- Return how the last workflows of a schedule have ended, the latest start first.
SELECT workflow_id, status
FROM dbos_workflow
WHERE schedule_name = %(schedule_name)s
  AND (%(after)s::text IS NULL OR created_at > %(after)s::timestamp AT TIME ZONE 'UTC')
  AND status IN ('SUCCESS', 'ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
ORDER BY created_at DESC
LIMIT %(limit)s
