-- Return those of these workflows that have no final outcome; the status of one that doesn't exist
-- is NULL. OFFSET 0, since else the planner may hash the whole table.
SELECT wanted.workflow_id, target.status, target.is_quarantined
FROM unnest(%(workflow_ids)s::text[]) WITH ORDINALITY AS wanted (workflow_id, position)
LEFT JOIN LATERAL (
    SELECT status, is_quarantined, finished_at
    FROM dbos_workflow
    WHERE workflow_id = wanted.workflow_id
    OFFSET 0
) AS target ON true
WHERE target.finished_at IS NULL OR target.is_quarantined
ORDER BY wanted.position
