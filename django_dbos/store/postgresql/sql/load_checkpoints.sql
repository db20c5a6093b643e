-- Return the histories of claimed workflows.
SELECT
    -- columns: checkpoint,
    CASE
        WHEN state = 1 THEN extract(epoch FROM deadline_at - clock_timestamp())::float8
    END AS remaining
FROM dbos_checkpoint
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
ORDER BY workflow_id, step_number
