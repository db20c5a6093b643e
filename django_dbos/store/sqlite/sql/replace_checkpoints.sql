-- Record the outcomes of waits and of steps that were tried again: the only checkpoints that ever
-- change.
UPDATE dbos_checkpoint
SET state = %(state)s,
    output = %(output)s,
    error = %(error)s,
    attempts = %(attempts)s,
    attempt_errors = %(attempt_errors)s,
    record_order = %(record_order)s,
    claim_number = %(claim_number)s,
    recorded_at = %(now)s
WHERE workflow_id = %(workflow_id)s AND step_number = %(step_number)s AND state = 1
