SELECT
    workflow_id, name, status, is_set_aside, output, error, parent_id, parent_step_number
FROM dbos_workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
