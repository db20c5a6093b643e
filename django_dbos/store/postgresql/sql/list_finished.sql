-- A page of the walk over old workflows, from the newest to the oldest, by the index of the admin's
-- list. One condition has both bounds, since an index scan begins at one. The page is read before
-- anything is asked about its rows.
WITH page AS MATERIALIZED (
    SELECT *
    FROM dbos_workflow
    WHERE (created_at, name COLLATE "POSIX", queue_name COLLATE "POSIX", workflow_id) < (
        (
            SELECT least(
                %(created_at)s::timestamptz, clock_timestamp() - make_interval(secs => %(age)s)
            )
        ),
        %(name)s::text, %(queue_name)s::text, %(row)s::text
    )
    ORDER BY
        created_at DESC, name COLLATE "POSIX" DESC, queue_name COLLATE "POSIX" DESC, workflow_id DESC
    LIMIT %(limit)s
)
SELECT
    old.workflow_id,
    old.token,
    old.claim_number,
    old.name,
    old.status,
    CASE
        WHEN old.finished_at > '-infinity'
            THEN extract(epoch FROM clock_timestamp() - old.finished_at)::float8
    END,
    old.finished_at IS NOT DISTINCT FROM '-infinity',
    old.finished_at IS NULL OR NOT (
        -- include: may_be_deleted
    ),
    old.parent_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM dbos_workflow AS parent WHERE parent.workflow_id = old.parent_id OFFSET 0
    ),
    old.created_at::text,
    old.queue_name,
    old.workflow_id
FROM page AS old
ORDER BY
    old.created_at DESC, old.name COLLATE "POSIX" DESC, old.queue_name COLLATE "POSIX" DESC,
    old.workflow_id DESC
