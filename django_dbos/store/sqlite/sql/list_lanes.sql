-- Return the lanes that have workflows enqueued.
SELECT DISTINCT
    -- include: lane
FROM dbos_workflow
WHERE status = 'ENQUEUED'
