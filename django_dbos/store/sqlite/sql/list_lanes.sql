SELECT DISTINCT queue_name, priority FROM dbos_workflow WHERE status = 'ENQUEUED'
