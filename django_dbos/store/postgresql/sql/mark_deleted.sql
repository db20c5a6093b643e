-- Mark finished workflows past their age for deletion, the oldest first. Several statements then
-- delete them, and no one may resume them. Marks that a dead worker left are found again. A parent
-- stays while it has an active child, which can be cancelled with it; so does one that keeps its
-- deduplication id. An array: see
-- claim_workflows. The time is a subquery, since an index can look up nothing else.
UPDATE dbos_workflow
SET finished_at = '-infinity'
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow AS old
    WHERE created_at < (SELECT clock_timestamp() - make_interval(secs => %(age)s))
      AND finished_at < clock_timestamp() - make_interval(secs => %(age)s)
      AND NOT is_quarantined
      AND coalesce(unique_until <= clock_timestamp(), true)
      AND place = 0
      AND NOT EXISTS (
          SELECT
          FROM dbos_workflow AS child
          WHERE child.parent_id = old.workflow_id
            AND child.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
          OFFSET 0
      )
    ORDER BY created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING workflow_id
