-- Make the messages pending again that the steps of a workflow from one on have consumed.
UPDATE dbos_message
SET consumed_at = NULL, consumed_step_number = NULL
WHERE workflow_id = %(workflow_id)s AND consumed_step_number >= %(step_number)s
