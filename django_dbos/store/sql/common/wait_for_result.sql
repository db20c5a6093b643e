-- Make a workflow that has just been inserted wait for the end of another one.
UPDATE dbos_workflow
SET status = 'WAITING',
    wake_kind = 'result',
    wake_workflow_id = %(target_id)s,
    wake_name = '',
    due_at = NULL
WHERE workflow_id = %(workflow_id)s AND status IN ('DELAYED', 'ENQUEUED')
