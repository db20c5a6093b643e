-- End workflows whose rows the fence has locked. One that is past its deadline still runs: its place
-- lingers, see keep_place. = ANY(ARRAY[]) of one value, since no plan can merge or hash by it: rows
-- are looked up by key, whatever the statistics are. By those of an empty table a plan with = reads
-- all rows.
UPDATE dbos_workflow AS workflow
SET status = ended.status,
    is_quarantined = ended.is_quarantined,
    output = ended.output,
    error = ended.error,
    claim_number = workflow.claim_number + 1,
    place = CASE
        WHEN ended.status = 'CANCELLED' AND workflow.place IN (1, 2) THEN workflow.place
        ELSE 0
    END,
    executor_id = CASE
        WHEN ended.status = 'CANCELLED' AND workflow.place IN (1, 2) THEN workflow.executor_id
    END,
    finished_at = clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(status)s::text[], %(output)s::text[], %(error)s::text[],
    %(is_quarantined)s::bool[]
) AS ended (workflow_id, status, output, error, is_quarantined)
WHERE workflow.workflow_id = ANY(ARRAY[ended.workflow_id])
