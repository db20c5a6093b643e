-- Return those of these workflows that have no final outcome; the status of one that doesn't exist
-- is NULL.
SELECT wanted.value, target.status, target.is_quarantined
FROM json_each(%(workflow_ids)s) AS wanted
LEFT JOIN dbos_workflow AS target ON target.workflow_id = wanted.value
WHERE target.finished_at IS NULL OR target.is_quarantined
ORDER BY wanted.key
