-- Keep a record of runs that end, of workflows whose rows the fence has locked.
INSERT INTO dbos_past_run (
    workflow_id, run_number, input, steps_before, steps, started_at, ended_at
)
SELECT
    past.workflow_id, past.run_number, past.input, past.steps_before,
    next.steps_before - past.steps_before, past.started_at, clock_timestamp()
FROM
    -- include: next_runs
CROSS JOIN LATERAL (
    SELECT workflow_id, run_number, input, steps_before, started_at
    FROM dbos_workflow
    WHERE workflow_id = next.workflow_id
    OFFSET 0
) AS past
