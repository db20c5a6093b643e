-- Return a workflow's status, and the latest value of one of its events.
SELECT workflow.status, event.value
FROM dbos_workflow AS workflow
LEFT JOIN dbos_event AS event
  ON event.workflow_id = workflow.workflow_id AND event.key = %(key)s
WHERE workflow.workflow_id = %(workflow_id)s
