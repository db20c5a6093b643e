-- Delete the values of events that the steps of a workflow from one on have set.
DELETE FROM dbos_event_version
WHERE workflow_id = %(workflow_id)s AND step_number >= %(step_number)s
RETURNING key
