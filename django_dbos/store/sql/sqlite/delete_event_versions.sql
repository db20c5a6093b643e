DELETE FROM dbos_event_version
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
