SELECT token FROM dbos_workflow WHERE workflow_id = %(workflow_id)s
