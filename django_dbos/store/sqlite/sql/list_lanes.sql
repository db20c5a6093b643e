-- Return the lanes that have workflows enqueued.
SELECT DISTINCT queue_name, priority FROM dbos_workflow WHERE status = 'ENQUEUED'
