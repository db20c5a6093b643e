-- Return the checkpoints that these positions already have.
SELECT
    -- columns: checkpoint.checkpoint,
    (extract(epoch FROM checkpoint.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining
FROM unnest(%(workflow_ids)s::text[], %(step_numbers)s::int[]) AS place (workflow_id, step_number)
JOIN dbos_checkpoint AS checkpoint
  ON checkpoint.workflow_id = place.workflow_id
 AND checkpoint.step_number = place.step_number
