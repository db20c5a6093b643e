-- Copy the checkpoint of an atomic step, committed on another database, into the history of a
-- workflow that was cancelled meanwhile. If the workflow has been resumed, a later run copies it.
INSERT INTO dbos_checkpoint AS checkpoint (
    workflow_id, step_number, step_name, state, output, error, record_order, claim_number,
    attempts, started_at, recorded_at
)
SELECT
    workflow_id, %(step_number)s, %(step_name)s, 0, %(output)s, %(error)s, %(record_order)s,
    %(claim_number)s, %(attempts)s,
    clock_timestamp() - make_interval(secs => %(duration)s), clock_timestamp()
FROM dbos_workflow
WHERE workflow_id = %(workflow_id)s
  AND token = %(token)s
  AND (
      (status = 'CANCELLED' AND claim_number = %(claim_number)s + 1)
      OR (status = 'PENDING' AND claim_number = %(claim_number)s)
  )
FOR SHARE
-- include: replace_retry
WHERE checkpoint.state = 1
