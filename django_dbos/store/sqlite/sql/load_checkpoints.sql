-- Return the histories of claimed workflows.
SELECT
    -- columns: checkpoint,
    CASE
        WHEN state = 1 THEN (julianday(deadline_at) - julianday(%(now)s)) * 86400.0
    END AS remaining
FROM dbos_checkpoint
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
ORDER BY workflow_id, step_number
