queue.name,
(
    SELECT count(*)
    FROM (
        SELECT 1 AS one
        FROM dbos_workflow
        WHERE status = 'ENQUEUED' AND queue_name = queue.name
        LIMIT %(most)s
    ) AS counted
) AS queued,
(
    SELECT count(*)
    FROM (
        SELECT 1 AS one
        FROM dbos_workflow
        WHERE status = 'PENDING' AND queue_name = queue.name
        LIMIT %(most)s
    ) AS counted
) AS running,
(
    SELECT count(*)
    FROM (
        SELECT 1 AS one
        FROM dbos_workflow
        WHERE place > 0 AND place < 3 AND queue_name = queue.name
        LIMIT %(most)s
    ) AS counted
) AS places,
