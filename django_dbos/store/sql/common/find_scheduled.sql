-- Return active workflows of a schedule.
SELECT workflow_id
FROM dbos_workflow
WHERE schedule_name = %(schedule_name)s
  AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
LIMIT %(limit)s
