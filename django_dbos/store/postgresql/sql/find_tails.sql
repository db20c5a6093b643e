-- Return the last entry of each stream.
SELECT wanted.workflow_id, wanted.key, tail."offset", tail.is_end
FROM unnest(%(workflow_ids)s::text[], %(keys)s::text[]) AS wanted (workflow_id, key)
CROSS JOIN LATERAL (
    SELECT "offset", is_end
    FROM dbos_stream_entry
    WHERE workflow_id = wanted.workflow_id AND key = wanted.key
    ORDER BY "offset" DESC
    LIMIT 1
) AS tail
