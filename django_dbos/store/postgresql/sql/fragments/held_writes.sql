-- The rows of writes whose claims this executor holds: see held_workflows.
FROM unnest(
    %(workflow_id)s::text[], %(claim_number)s::int[], %(key)s::text[], %(value)s::text[],
    %(step_number)s::int[], %(write_id)s::uuid[], %(step_name)s::text[],
    %(fingerprint)s::text[], %(record_order)s::int[]
) WITH ORDINALITY AS write (
    workflow_id, claim_number, key, value, step_number, write_id, step_name, fingerprint,
    record_order, position
)
JOIN held ON held.workflow_id = write.workflow_id AND held.claim_number = write.claim_number
