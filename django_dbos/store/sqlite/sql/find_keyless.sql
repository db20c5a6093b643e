-- Return a row if a queue has workflows without a partition key enqueued.
SELECT 1
FROM dbos_workflow
WHERE status = 'ENQUEUED' AND queue_name = %(queue_name)s AND partition_key = ''
LIMIT 1
