-- Delete the history of the events of a run that ends; the latest values stay.
DELETE FROM dbos_event_version WHERE workflow_id = %(workflow_id)s
