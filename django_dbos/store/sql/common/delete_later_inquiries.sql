-- Delete what the steps of a workflow from one on have asked.
DELETE FROM dbos_inquiry
WHERE workflow_id = %(workflow_id)s AND step_number >= %(step_number)s
