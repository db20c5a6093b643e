-- Delete what the steps of a workflow from one on wrote to streams, their ends included.
DELETE FROM dbos_stream_entry
WHERE workflow_id = %(workflow_id)s AND step_number >= %(step_number)s
RETURNING key
