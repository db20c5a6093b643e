-- Return how the last workflows of a schedule have ended, the latest instant first.
SELECT workflow_id, status
FROM dbos_workflow
WHERE schedule_name = %(schedule_name)s
  AND (%(after)s::text IS NULL OR scheduled_at > %(after)s::timestamp AT TIME ZONE 'UTC')
  AND status IN ('SUCCESS', 'ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
ORDER BY scheduled_at DESC
LIMIT %(limit)s
