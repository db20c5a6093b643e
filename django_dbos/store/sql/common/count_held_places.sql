-- Count the places that are held in a queue, without those that are kept free for runs that have
-- lent theirs: all, an executor's, and a partition's.
SELECT
    count(*),
    count(CASE WHEN executor_id = %(executor_id)s THEN 1 END),
    count(CASE WHEN partition_key = %(partition_key)s THEN 1 END)
FROM dbos_workflow
WHERE queue_name = %(queue_name)s AND place > 0 AND place < 3
