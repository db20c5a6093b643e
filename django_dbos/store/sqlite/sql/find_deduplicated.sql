-- Return the workflows that hold these deduplication ids: active ones, and ended ones that keep
-- theirs for a while. The first condition on both is that of the index.
SELECT workflow.queue_name, workflow.deduplication_id, workflow.workflow_id, workflow.user_id
FROM json_each(%(rows)s) AS wanted
CROSS JOIN dbos_workflow AS workflow
  ON workflow.queue_name = json_extract(wanted.value, '$[0]')
 AND workflow.deduplication_id = json_extract(wanted.value, '$[1]')
WHERE workflow.deduplication_id IS NOT NULL
  AND (
      workflow.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
      OR workflow.unique_until IS NOT NULL
  )
  AND (
      workflow.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
      OR workflow.unique_until > %(now)s
  )
