-- Suspend workflows until their waits are over. The wait's own checkpoint has the due time; it is
-- older than the suspension. A wait for a key has none. ANY: see
-- finish_workflows.
UPDATE dbos_workflow AS workflow
SET status = 'WAITING',
    wake_kind = wait.kind,
    wake_workflow_id = nullif(wait.target_id, ''),
    wake_name = wait.name,
    wake_offset = wait."offset",
    due_at = checkpoint.deadline_at,
    -- include: give_back_place
    claim_number = workflow.claim_number + 1
FROM unnest(
    %(workflow_id)s::text[], %(step_number)s::int[], %(kind)s::text[], %(target_id)s::text[],
    %(name)s::text[], %(offset)s::int[]
) AS wait (workflow_id, step_number, kind, target_id, name, "offset")
LEFT JOIN LATERAL (
    SELECT deadline_at
    FROM dbos_checkpoint
    WHERE workflow_id = wait.workflow_id AND step_number = wait.step_number
    OFFSET 0
) AS checkpoint ON true
WHERE workflow.workflow_id = ANY(ARRAY[wait.workflow_id])
