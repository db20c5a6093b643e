-- Return suspects of managed queues: see claim_suspect.
SELECT workflow_id
FROM dbos_workflow
WHERE status = 'ENQUEUED'
  AND recovery_attempts >= 3
  AND queue_name IN (SELECT value FROM json_each(%(queue_names)s))
  -- include: is_known
ORDER BY queue_sequence
LIMIT %(limit)s
