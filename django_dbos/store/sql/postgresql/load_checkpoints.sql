-- The histories of claimed workflows.
SELECT
    workflow_id, step_number, step_name, state, fingerprint, output, error, child_workflow_id,
    record_order, claim_number, NULL::float8 AS remaining
FROM dbos_checkpoint
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
ORDER BY workflow_id, step_number
