-- Return suspects of managed queues: see claim_suspect.
SELECT workflow_id
FROM dbos_workflow
WHERE status = 'ENQUEUED'
  AND recovery_attempts >= 3
  AND queue_name = ANY(%(queue_names)s::text[])
  -- include: is_known
ORDER BY queue_sequence
LIMIT %(limit)s
