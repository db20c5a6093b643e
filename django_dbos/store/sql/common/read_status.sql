-- Return a workflow's status.
SELECT status FROM dbos_workflow WHERE workflow_id = %(workflow_id)s
