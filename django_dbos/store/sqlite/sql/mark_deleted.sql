-- Mark finished workflows past their age for deletion, the oldest first. Several statements then
-- delete them, and no one may resume them. Marks that a dead worker left are found again. A parent
-- stays while it has an active child, which can be cancelled with it; so does one that keeps its
-- deduplication id.
UPDATE dbos_workflow
SET finished_at = '0001-01-01 00:00:00.000000'
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow AS old
    WHERE created_at < %(before)s
      AND finished_at < %(before)s
      AND NOT is_quarantined
      AND coalesce(unique_until <= %(now)s, true)
      AND place = 0
      AND NOT EXISTS (
          SELECT 1
          FROM dbos_workflow AS child
          WHERE child.parent_id = old.workflow_id
            AND child.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
      )
    ORDER BY created_at
    LIMIT %(limit)s
)
RETURNING workflow_id
