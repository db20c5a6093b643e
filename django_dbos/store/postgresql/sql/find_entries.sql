-- Return the values of entries of streams. OFFSET 0: see find_unfinished.
SELECT wanted.workflow_id, wanted.key, wanted."offset", entry.value
FROM unnest(%(workflow_ids)s::text[], %(keys)s::text[], %(offsets)s::int[])
    AS wanted (workflow_id, key, "offset")
CROSS JOIN LATERAL (
    SELECT value
    FROM dbos_stream_entry
    WHERE workflow_id = wanted.workflow_id
      AND key = wanted.key
      AND "offset" = wanted."offset"
    OFFSET 0
) AS entry
