-- Give a workflow whose row the fence has locked the input of its next run, which is new to
-- everything that counts starts, deaths and time; release_workflows enqueues it. A deadline that
-- was inherited stays.
UPDATE dbos_workflow
SET input = %(input)s,
    run_number = run_number + 1,
    steps_before = %(steps_before)s,
    recovery_attempts = 0,
    started_at = NULL,
    deadline_at = CASE WHEN timeout IS NULL THEN deadline_at END
WHERE workflow_id = %(workflow_id)s
