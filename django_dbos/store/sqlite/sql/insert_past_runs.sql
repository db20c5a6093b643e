-- Keep a record of a run that ends, of a workflow whose row the fence has locked.
INSERT INTO dbos_past_run (
    workflow_id, run_number, input, steps_before, steps, started_at, ended_at
)
SELECT
    workflow_id, run_number, input, steps_before, %(steps_before)s - steps_before, started_at,
    %(now)s
FROM dbos_workflow
WHERE workflow_id = %(workflow_id)s
