-- End one workflow; end_workflows ends many. See record_checkpoint.
UPDATE dbos_workflow
SET status = %(status)s,
    output = %(output)s,
    error = %(error)s,
    claim_number = claim_number + 1,
    place = 0,
    executor_id = NULL,
    finished_at = clock_timestamp()
WHERE workflow_id = (
    -- include: held_workflow
      AND (
          %(after_step)s::int IS NULL
          OR EXISTS (
              SELECT
              FROM dbos_checkpoint
              WHERE workflow_id = %(workflow_id)s AND step_number = %(after_step)s::int
          )
      )
    FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING workflow_id, claim_number - 1
