-- A page of the walk over old workflows, from the newest to the oldest, by the index of the admin's
-- list, whose last column is the rowid. The page is read before anything is asked about its rows; the
-- instants are expressions, which stay texts.
WITH page AS MATERIALIZED (
    SELECT rowid AS row_number, *
    FROM dbos_workflow
    WHERE (created_at, name, queue_name, rowid) < (
        %(created_at)s, %(name)s, %(queue_name)s, %(row)s
    )
    ORDER BY created_at DESC, name DESC, queue_name DESC, rowid DESC
    LIMIT %(limit)s
)
SELECT
    old.workflow_id,
    old.token,
    old.claim_number,
    old.name,
    old.status,
    old.finished_at || '',
    old.finished_at IS '0001-01-01 00:00:00.000000',
    old.finished_at IS NULL OR NOT (
        -- include: may_be_deleted
    ),
    old.parent_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM dbos_workflow AS parent WHERE parent.workflow_id = old.parent_id
    ),
    old.created_at || '',
    old.queue_name,
    old.row_number
FROM page AS old
ORDER BY old.created_at DESC, old.name DESC, old.queue_name DESC, old.row_number DESC
