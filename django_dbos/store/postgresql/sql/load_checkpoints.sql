-- The histories of claimed workflows.
SELECT
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number,
    CASE
        WHEN state = 1 THEN extract(epoch FROM deadline_at - clock_timestamp())::float8
    END AS remaining,
    attempts, attempt_errors
FROM dbos_checkpoint
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
ORDER BY workflow_id, step_number
