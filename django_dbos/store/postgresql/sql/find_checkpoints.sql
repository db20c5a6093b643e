-- Return the checkpoints that these positions already have. OFFSET 0: see find_unfinished.
SELECT
    -- columns: checkpoint.checkpoint,
    (extract(epoch FROM checkpoint.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining
FROM unnest(%(workflow_ids)s::text[], %(step_numbers)s::int[]) AS place (workflow_id, step_number)
CROSS JOIN LATERAL (
    SELECT *
    FROM dbos_checkpoint
    WHERE workflow_id = place.workflow_id AND step_number = place.step_number
    OFFSET 0
) AS checkpoint
