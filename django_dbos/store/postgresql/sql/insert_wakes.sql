-- Store the things that suspended workflows wait for, if any of several ends the wait. Rows of an
-- earlier wait, which count no longer, are replaced.
INSERT INTO dbos_wake (
    workflow_id, part, claim_number, wake_kind, wake_workflow_id, wake_name, wake_offset
)
SELECT wake.workflow_id, wake.part, wake.claim_number, wake.kind, wake.target_id, wake.name,
    wake."offset"
FROM unnest(
    %(workflow_id)s::text[], %(part)s::int[], %(claim_number)s::int[], %(kind)s::text[],
    %(target_id)s::text[], %(name)s::text[], %(offset)s::int[]
) AS wake (workflow_id, part, claim_number, kind, target_id, name, "offset")
ON CONFLICT (workflow_id, part) DO UPDATE
SET claim_number = excluded.claim_number,
    wake_kind = excluded.wake_kind,
    wake_workflow_id = excluded.wake_workflow_id,
    wake_name = excluded.wake_name,
    wake_offset = excluded.wake_offset
