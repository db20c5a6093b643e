SELECT workflow_id
FROM dbos_workflow
WHERE created_at < %(before)s AND finished_at < %(before)s AND NOT is_set_aside
ORDER BY created_at
LIMIT %(limit)s
