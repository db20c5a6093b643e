DELETE FROM dbos_message
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
