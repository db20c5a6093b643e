-- Return executors that hold workflows or places but have no row: no executor would ever recover
-- these.
SELECT workflow.executor_id
FROM dbos_workflow AS workflow
LEFT JOIN dbos_executor AS executor ON executor.executor_id = workflow.executor_id
WHERE workflow.status = 'PENDING' AND executor.executor_id IS NULL
UNION
SELECT workflow.executor_id
FROM dbos_workflow AS workflow
LEFT JOIN dbos_executor AS executor ON executor.executor_id = workflow.executor_id
WHERE workflow.status <> 'PENDING'
  AND workflow.place > 0
  AND workflow.executor_id IS NOT NULL
  AND executor.executor_id IS NULL
