-- Delete the history of the events of runs that end; the latest values stay.
DELETE FROM dbos_event_version WHERE workflow_id = ANY(%(workflow_id)s::text[])
