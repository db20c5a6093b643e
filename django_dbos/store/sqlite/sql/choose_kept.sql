-- Return workflows that keep their places until they end, and want to go on.
SELECT workflow_id, partition_key, false AS is_start
FROM dbos_workflow
WHERE status = 'ENQUEUED'
  AND queue_name = %(queue_name)s
  AND queue_sequence < 0
  AND place > 0
  AND executor_id IS NULL
  -- include: is_known
  AND recovery_attempts < 3
ORDER BY priority DESC, queue_sequence, workflow_id
LIMIT %(limit)s
