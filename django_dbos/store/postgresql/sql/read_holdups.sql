-- Return, for each of these workflows that is enqueued, what its queue has taken and who comes first.
-- OFFSET 0: see find_unfinished.
SELECT
    -- include: holdup
FROM unnest(%(workflow_ids)s::text[]) AS asked (workflow_id)
CROSS JOIN LATERAL (
    SELECT * FROM dbos_workflow WHERE workflow_id = asked.workflow_id OFFSET 0
) AS workflow
LEFT JOIN dbos_queue AS queue ON queue.name = workflow.queue_name
WHERE workflow.status = 'ENQUEUED'
