-- The checkpoints that are at these positions already.
SELECT
    checkpoint.workflow_id, checkpoint.step_number, checkpoint.step_name, checkpoint.state,
    checkpoint.fingerprint, checkpoint.output, checkpoint.error, checkpoint.related_workflow_id,
    checkpoint.record_order, checkpoint.claim_number,
    (extract(epoch FROM checkpoint.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining,
    checkpoint.attempts, checkpoint.attempt_errors
FROM unnest(%(workflow_ids)s::text[], %(step_numbers)s::int[]) AS place (workflow_id, step_number)
JOIN dbos_checkpoint AS checkpoint
  ON checkpoint.workflow_id = place.workflow_id
 AND checkpoint.step_number = place.step_number
