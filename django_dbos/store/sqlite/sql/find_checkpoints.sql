SELECT
    checkpoint.workflow_id, checkpoint.step_number, checkpoint.step_name, checkpoint.state,
    checkpoint.fingerprint, checkpoint.output, checkpoint.error, checkpoint.related_workflow_id,
    checkpoint.record_order, checkpoint.claim_number,
    (julianday(checkpoint.deadline_at) - julianday(%(now)s)) * 86400.0 AS remaining,
    checkpoint.attempts, checkpoint.attempt_errors
FROM json_each(%(places)s) AS place
CROSS JOIN dbos_checkpoint AS checkpoint
  ON checkpoint.workflow_id = json_extract(place.value, '$[0]')
 AND checkpoint.step_number = json_extract(place.value, '$[1]')
