-- Return how many workflows are enqueued, run, wait with a due time, are delayed, and wait without a
-- due time; and how many rows were read for the third and fourth, and for the fifth. Of each, at most
-- `most` rows are read, in the order of an index: else a planner may read the table until it has them.
SELECT
    (
        SELECT count(*)
        FROM (
            SELECT 1 AS one
            FROM dbos_workflow
            WHERE status = 'ENQUEUED'
            ORDER BY queue_name
            LIMIT %(most)s
        ) AS seen
    ),
    (
        SELECT count(*)
        FROM (
            SELECT 1 AS one
            FROM dbos_workflow
            WHERE status = 'PENDING'
            ORDER BY executor_id
            LIMIT %(most)s
        ) AS seen
    ),
    due.waiting,
    due.delayed,
    awaited.waiting,
    due.seen,
    awaited.seen
FROM (
    SELECT
        count(*) FILTER (WHERE status = 'WAITING') AS waiting,
        count(*) FILTER (WHERE status = 'DELAYED') AS delayed,
        count(*) AS seen
    FROM (
        SELECT status
        FROM dbos_workflow
        WHERE status IN ('DELAYED', 'WAITING') AND due_at IS NOT NULL
        ORDER BY due_at
        LIMIT %(most)s
    ) AS read
) AS due
CROSS JOIN (
    SELECT count(*) FILTER (WHERE due_at IS NULL) AS waiting, count(*) AS seen
    FROM (
        SELECT due_at
        FROM dbos_workflow
        WHERE status = 'WAITING' AND wake_workflow_id IS NOT NULL
        ORDER BY wake_workflow_id
        LIMIT %(most)s
    ) AS read
) AS awaited
