-- Replace the attributes of a workflow, whose row the transaction has locked.
UPDATE dbos_workflow
SET attributes = %(attributes)s
WHERE workflow_id = %(workflow_id)s
