-- Count the places that are held in a partition of a queue.
SELECT count(*)
FROM dbos_workflow
WHERE queue_name = %(queue_name)s AND partition_key = %(partition_key)s AND place > 0
