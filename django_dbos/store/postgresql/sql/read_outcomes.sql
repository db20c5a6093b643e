-- Return the statuses of workflows, and the outcomes of ended ones. OFFSET 0, since else the planner
-- may hash the whole table.
SELECT wanted.workflow_id, target.status, target.output, target.error, target.recovery_attempts
FROM unnest(%(workflow_ids)s::text[]) AS wanted (workflow_id)
CROSS JOIN LATERAL (
    SELECT status, output, error, recovery_attempts
    FROM dbos_workflow
    WHERE workflow_id = wanted.workflow_id
    OFFSET 0
) AS target
