-- Workflows of which no write is made, since a checkpoint is there already.
SELECT new.workflow_id
FROM new
CROSS JOIN LATERAL (
    SELECT
    FROM dbos_checkpoint
    WHERE workflow_id = new.workflow_id AND step_number = new.step_number
    OFFSET 0
) AS recorded
WHERE new.step_name IS NOT NULL
