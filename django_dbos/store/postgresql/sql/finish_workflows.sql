-- End workflows whose rows the fence has locked.
UPDATE dbos_workflow AS workflow
SET status = ended.status,
    is_quarantined = ended.is_quarantined,
    output = ended.output,
    error = ended.error,
    claim_number = workflow.claim_number + 1,
    executor_id = NULL,
    finished_at = clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(status)s::text[], %(output)s::text[], %(error)s::text[],
    %(is_quarantined)s::bool[]
) AS ended (workflow_id, status, output, error, is_quarantined)
WHERE workflow.workflow_id = ended.workflow_id
