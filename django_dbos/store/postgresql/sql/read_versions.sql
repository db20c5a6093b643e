-- The status of a workflow, and the versions of its events, or of one: both as of one moment, so
-- that of a workflow that has ended everything is seen that it set.
SELECT workflow.status, workflow.token, event.key, event.version
FROM dbos_workflow AS workflow
LEFT JOIN dbos_event AS event
    ON event.workflow_id = workflow.workflow_id
    AND (event.key = %(key)s OR %(key)s::text IS NULL)
WHERE workflow.workflow_id = %(workflow_id)s
ORDER BY event.key
