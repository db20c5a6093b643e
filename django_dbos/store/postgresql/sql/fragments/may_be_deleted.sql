-- Finished workflows that may be deleted. A parent stays while it has an active child, which can be
-- cancelled with it; a child, while the current run of its parent may refer to it. So does one that
-- keeps its deduplication id.
old.finished_at IS NOT NULL
AND NOT old.is_quarantined
AND coalesce(old.unique_until <= clock_timestamp(), true)
AND old.place = 0
AND NOT EXISTS (
    SELECT
    FROM dbos_workflow AS child
    WHERE child.parent_id = old.workflow_id
      AND child.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
    OFFSET 0
)
AND NOT EXISTS (
    SELECT
    FROM dbos_workflow AS parent
    WHERE parent.workflow_id = old.parent_id
      AND parent.steps_before < old.parent_step_number
      AND parent.finished_at IS DISTINCT FROM '-infinity'
    OFFSET 0
)
