-- Return for each span of time how many workflows were created in it and how many of them have failed,
-- each at most `most`, and as JSON the seconds that the newest `sample` of them waited and ran: null for those that haven't begun or ended.
SELECT
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM dbos_workflow
            WHERE created_at >= span.first AND created_at < span.last
            LIMIT %(most)s
        ) AS counted
    ),
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM dbos_workflow
            -- Rows, as only the index of those that have failed compares them.
            WHERE status IN ('CANCELLED', 'ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
              AND (status, created_at) >= ('ERROR', span.first)
              AND (status, created_at) < ('ERROR', span.last)
            ORDER BY status, created_at
            LIMIT %(most)s
        ) AS counted
    ),
    (
        SELECT json_agg(json_build_array(waited, ran))::text
        FROM (
            SELECT
                extract(epoch FROM started_at - created_at)::float8 AS waited,
                -- Workflows that are being deleted have ended at -infinity.
                CASE
                    WHEN finished_at > created_at
                    THEN extract(epoch FROM finished_at - started_at)::float8
                END AS ran
            FROM dbos_workflow
            WHERE created_at >= span.first AND created_at < span.last
            ORDER BY created_at DESC
            LIMIT %(sample)s
        ) AS newest
    )
FROM (
    SELECT number, first AT TIME ZONE 'UTC' AS first, last AT TIME ZONE 'UTC' AS last
    FROM unnest(%(firsts)s::timestamp[], %(lasts)s::timestamp[])
        WITH ORDINALITY AS given (first, last, number)
    OFFSET 0
) AS span
ORDER BY span.number
