-- Return executors that hold workflows but have no row: no executor would ever recover these
-- workflows.
SELECT DISTINCT workflow.executor_id
FROM dbos_workflow AS workflow
LEFT JOIN dbos_executor AS executor ON executor.executor_id = workflow.executor_id
WHERE workflow.status = 'PENDING' AND executor.executor_id IS NULL
