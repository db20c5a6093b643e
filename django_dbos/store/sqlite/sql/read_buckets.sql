-- Return for each span of time how many workflows were created in it and how many of them have failed,
-- each at most `most`, and as JSON the seconds that the newest `sample` of them waited and ran: null for those that haven't begun or ended.
SELECT
    (
        SELECT count(*)
        FROM (
            SELECT 1 AS one
            FROM dbos_workflow
            WHERE created_at >= span.first AND created_at < span.last
            LIMIT %(most)s
        ) AS counted
    ),
    (
        SELECT count(*)
        FROM (
            SELECT 1 AS one
            FROM dbos_workflow
            WHERE status = 'ERROR' AND created_at >= span.first AND created_at < span.last
            LIMIT %(most)s
        ) AS counted
    ),
    (
        SELECT json_group_array(json_array(waited, ran))
        FROM (
            SELECT
                (julianday(started_at) - julianday(created_at)) * 86400.0 AS waited,
                CASE
                    WHEN finished_at > created_at
                    THEN (julianday(finished_at) - julianday(started_at)) * 86400.0
                END AS ran
            FROM dbos_workflow
            WHERE created_at >= span.first AND created_at < span.last
            ORDER BY created_at DESC
            LIMIT %(sample)s
        ) AS newest
    )
FROM (
    SELECT
        key AS number,
        value AS first,
        json_extract(%(lasts)s, '$[' || key || ']') AS last
    FROM json_each(%(firsts)s)
) AS span
ORDER BY span.number
