SELECT
    workflow_id, name, status, is_quarantined, output, error, parent_id, parent_step_number,
    user_id
FROM dbos_workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
