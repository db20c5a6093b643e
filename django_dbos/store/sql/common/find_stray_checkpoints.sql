-- The next workflows that have rows here, and whether they are gone. With OFFSET a planner looks each
-- of them up, in place of reading all workflows.
SELECT
    part.workflow_id,
    NOT EXISTS (
        SELECT 1
        FROM dbos_workflow AS owner
        WHERE owner.workflow_id = part.workflow_id
        LIMIT 1 OFFSET 0
    )
FROM (
    SELECT DISTINCT workflow_id
    FROM dbos_checkpoint
    WHERE workflow_id > %(above)s
    ORDER BY workflow_id
    LIMIT %(limit)s
) AS part
ORDER BY part.workflow_id
