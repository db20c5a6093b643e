UPDATE dbos_workflow AS workflow
SET status = ended.status,
    is_set_aside = ended.is_set_aside,
    output = ended.output,
    error = ended.error,
    claim_number = workflow.claim_number + 1,
    executor_id = NULL,
    finished_at = clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(status)s::text[], %(output)s::text[], %(error)s::text[],
    %(is_set_aside)s::bool[]
) AS ended (workflow_id, status, output, error, is_set_aside)
WHERE workflow.workflow_id = ended.workflow_id
