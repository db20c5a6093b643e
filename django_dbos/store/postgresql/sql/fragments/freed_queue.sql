-- The queue, if a place in its limits became free. A subquery reads the row as it was before;
-- coalesce(): by its id, not through the index of the places.
CASE WHEN place = 0 THEN (
    SELECT old.queue_name
    FROM dbos_workflow AS old
    WHERE old.workflow_id = dbos_workflow.workflow_id AND coalesce(old.place > 0, false)
) END AS freed_queue
