-- Return, for each of these workflows that is enqueued, what its queue has taken and who comes first.
SELECT
    -- include: holdup
FROM unnest(%(workflow_ids)s::text[]) AS asked (workflow_id)
JOIN dbos_workflow AS workflow
  ON workflow.workflow_id = asked.workflow_id AND workflow.status = 'ENQUEUED'
LEFT JOIN dbos_queue AS queue ON queue.name = workflow.queue_name
