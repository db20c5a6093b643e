-- Return the next partition key of a queue that has workflows enqueued which have run before.
SELECT partition_key
FROM dbos_workflow
WHERE status = 'ENQUEUED'
  AND queue_name = %(queue_name)s
  AND queue_sequence < 0
  AND partition_key > %(after)s
ORDER BY partition_key
LIMIT 1
