-- Return the first step from one on that has received a message which is gone.
SELECT step.step_number
FROM dbos_checkpoint AS step
WHERE step.workflow_id = %(workflow_id)s
  AND step.step_number >= %(step_number)s
  AND step.state = 0
  AND step.error IS NULL
  AND (step.step_name = 'dbos.recv' OR step.step_name LIKE 'dbos.recv(%%')
  AND NOT EXISTS (
      SELECT 1
      FROM dbos_message AS message
      WHERE message.workflow_id = %(workflow_id)s
        AND message.consumed_step_number = step.step_number
  )
ORDER BY step.step_number
LIMIT 1
