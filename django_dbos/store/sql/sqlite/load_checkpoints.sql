SELECT
    workflow_id, step_number, step_name, state, fingerprint, output, error, child_workflow_id,
    record_order, claim_number, NULL AS remaining
FROM dbos_checkpoint
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
ORDER BY workflow_id, step_number
