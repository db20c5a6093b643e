-- Return the checkpoints that these positions already have.
SELECT
    -- columns: checkpoint.checkpoint,
    (julianday(checkpoint.deadline_at) - julianday(%(now)s)) * 86400.0 AS remaining
FROM json_each(%(rows)s) AS place
CROSS JOIN dbos_checkpoint AS checkpoint
  ON checkpoint.workflow_id = json_extract(place.value, '$[0]')
 AND checkpoint.step_number = json_extract(place.value, '$[1]')
