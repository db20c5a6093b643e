-- Return a workflow's status, and the versions of its events, or of one. Both are as of one moment,
-- so that a reader of an ended workflow sees all that it set.
SELECT workflow.status, workflow.token, event.key, event.version
FROM dbos_workflow AS workflow
LEFT JOIN dbos_event AS event
    ON event.workflow_id = workflow.workflow_id
    AND (event.key = %(key)s OR %(key)s IS NULL)
WHERE workflow.workflow_id = %(workflow_id)s
ORDER BY event.key
