-- The queue, if a place in its limits became free. A subquery reads the row as it was before.
CASE WHEN place = 0 THEN (
    SELECT old.queue_name
    FROM dbos_workflow AS old
    WHERE old.workflow_id = dbos_workflow.workflow_id AND old.place > 0
) END AS freed_queue
