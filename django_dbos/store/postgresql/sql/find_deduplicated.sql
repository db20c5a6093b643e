-- Return the workflows that hold these deduplication ids: active ones, and ended ones that keep
-- theirs for a while.
SELECT workflow.queue_name, workflow.deduplication_id, workflow.workflow_id, workflow.user_id
FROM unnest(%(queue_names)s::text[], %(deduplication_ids)s::text[])
    AS wanted (queue_name, deduplication_id)
JOIN dbos_workflow AS workflow
  ON workflow.queue_name = wanted.queue_name
 AND workflow.deduplication_id = wanted.deduplication_id
WHERE workflow.deduplication_id IS NOT NULL
  AND (
      workflow.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
      OR workflow.unique_until > clock_timestamp()
  )
