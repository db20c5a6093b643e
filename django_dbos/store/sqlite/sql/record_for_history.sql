-- See PostgreSQL's.
INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, output, error, record_order, claim_number,
    attempts, started_at, recorded_at
)
SELECT
    workflow_id, %(step_number)s, %(step_name)s, 0, %(output)s, %(error)s, %(record_order)s,
    %(claim_number)s, %(attempts)s, %(started_at)s, %(now)s
FROM dbos_workflow
WHERE workflow_id = %(workflow_id)s
  AND token = %(token)s
  AND (
      (status = 'CANCELLED' AND claim_number = %(claim_number)s + 1)
      OR (status = 'PENDING' AND claim_number = %(claim_number)s)
  )
-- In place of what says when it is to be tried again.
ON CONFLICT (workflow_id, step_number) DO UPDATE
SET state = 0,
    output = excluded.output,
    error = excluded.error,
    attempts = excluded.attempts,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
WHERE dbos_checkpoint.state = 1
