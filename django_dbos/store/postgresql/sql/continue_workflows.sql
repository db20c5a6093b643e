-- Give workflows whose rows the fence has locked the input of their next runs, which are new to
-- everything that counts starts, deaths and time; release_workflows enqueues them. A deadline that
-- was inherited stays. ANY: see finish_workflows.
UPDATE dbos_workflow AS workflow
SET input = next.input,
    version = next.version,
    run_number = workflow.run_number + 1,
    steps_before = next.steps_before,
    recovery_attempts = 0,
    started_at = NULL,
    -- Under a rate the next run needs a start, as the first one did, and another may come before it.
    place = CASE
        WHEN workflow.place = 2 AND EXISTS (
            SELECT FROM dbos_queue AS queue
            WHERE queue.name = queue_name
              AND queue.is_managed
              AND (
                  queue.rate_count IS NOT NULL
                  OR queue.partition_rate_count IS NOT NULL AND workflow.partition_key <> ''
              )
        ) THEN 0
        ELSE workflow.place
    END,
    deadline_at = CASE WHEN workflow.timeout IS NULL THEN workflow.deadline_at END
FROM
    -- include: next_runs
WHERE workflow.workflow_id = ANY(ARRAY[next.workflow_id])
