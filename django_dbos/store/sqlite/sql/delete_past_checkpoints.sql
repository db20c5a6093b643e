-- Delete the history of a run that ends.
DELETE FROM dbos_checkpoint WHERE workflow_id = %(workflow_id)s
