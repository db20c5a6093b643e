-- End workflows whose rows the fence has locked.
UPDATE dbos_workflow
SET status = %(status)s,
    is_quarantined = %(is_quarantined)s,
    output = %(output)s,
    error = %(error)s,
    claim_number = claim_number + 1,
    executor_id = NULL,
    finished_at = %(now)s
WHERE workflow_id = %(workflow_id)s
