-- Make a new workflow a fork: its first claim finds a history, and its steps have the numbers of
-- the original's run.
UPDATE dbos_workflow
SET claim_number = 1,
    run_number = %(run_number)s,
    steps_before = %(steps_before)s,
    forked_from = %(source_id)s,
    forked_at_step = %(step_number)s
WHERE workflow_id = %(workflow_id)s
