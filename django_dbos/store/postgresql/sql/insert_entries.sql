-- Append entries whose offsets are dealt.
-- include: into_entries
SELECT entry.workflow_id, entry.key, entry."offset", entry.value, entry.value IS NULL,
       entry.step_number, entry.write_id, clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(key)s::text[], %(offset)s::int[], %(value)s::text[],
    %(step_number)s::int[], %(write_id)s::uuid[]
) AS entry (workflow_id, key, "offset", value, step_number, write_id)
