-- Return the statuses of workflows, and the versions of their events, or of one of each. All are as
-- of one moment, so that a reader of an ended workflow sees all that it set. OFFSET 0, since else
-- the planner may hash whole tables.
SELECT wanted.position, workflow.status, workflow.token, event.key, event.version
FROM unnest(%(workflow_ids)s::text[], %(keys)s::text[])
    WITH ORDINALITY AS wanted (workflow_id, key, position)
CROSS JOIN LATERAL (
    SELECT status, token
    FROM dbos_workflow
    WHERE workflow_id = wanted.workflow_id
    OFFSET 0
) AS workflow
LEFT JOIN LATERAL (
    SELECT key, version
    FROM dbos_event
    WHERE workflow_id = wanted.workflow_id
      AND (dbos_event.key = wanted.key OR wanted.key IS NULL)
    OFFSET 0
) AS event ON TRUE
ORDER BY wanted.position, event.key
