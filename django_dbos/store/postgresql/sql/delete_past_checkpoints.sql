-- Delete the histories of runs that end.
DELETE FROM dbos_checkpoint WHERE workflow_id = ANY(%(workflow_id)s::text[])
