-- Free deduplication ids that ended workflows have kept until now.
UPDATE dbos_workflow
SET unique_until = NULL
WHERE workflow_id IN (
    SELECT workflow.workflow_id
    FROM json_each(%(rows)s) AS wanted
    CROSS JOIN dbos_workflow AS workflow
      ON workflow.queue_name = json_extract(wanted.value, '$[0]')
     AND workflow.deduplication_id = json_extract(wanted.value, '$[1]')
    WHERE workflow.deduplication_id IS NOT NULL
      AND workflow.unique_until <= %(now)s
      AND workflow.status NOT IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
)
RETURNING workflow_id
