-- Workflows that are awaited, sent to, or about to be started.
SELECT
    workflow_id, name, status, is_quarantined, output, error, parent_id, parent_step_number,
    user_id
FROM dbos_workflow
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
