-- Delete what a workflow waited for whose wait is over.
DELETE FROM dbos_wake
WHERE workflow_id = %(workflow_id)s
