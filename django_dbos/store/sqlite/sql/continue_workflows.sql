-- Give a workflow whose row the fence has locked the input of its next run, which is new to
-- everything that counts starts, deaths and time; release_workflows enqueues it. A deadline that
-- was inherited stays.
UPDATE dbos_workflow
SET input = %(input)s,
    version = %(version)s,
    run_number = run_number + 1,
    steps_before = %(steps_before)s,
    recovery_attempts = 0,
    started_at = NULL,
    -- Under a rate the next run needs a start, as the first one did, and another may come before it.
    place = CASE
        WHEN place = 2 AND EXISTS (
            SELECT 1 FROM dbos_queue AS queue
            WHERE queue.name = queue_name
              AND queue.is_managed
              AND (
                  queue.rate_count IS NOT NULL
                  OR queue.partition_rate_count IS NOT NULL AND partition_key <> ''
              )
        ) THEN 0
        ELSE place
    END,
    deadline_at = CASE WHEN timeout IS NULL THEN deadline_at END
WHERE workflow_id = %(workflow_id)s
