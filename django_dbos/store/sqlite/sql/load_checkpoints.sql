SELECT
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number,
    CASE
        WHEN state = 1 THEN (julianday(deadline_at) - julianday(%(now)s)) * 86400.0
    END AS remaining,
    attempts, attempt_errors
FROM dbos_checkpoint
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
ORDER BY workflow_id, step_number
