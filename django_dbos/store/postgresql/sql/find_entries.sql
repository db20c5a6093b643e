-- Return the values of entries of streams.
SELECT entry.workflow_id, entry.key, entry."offset", entry.value
FROM unnest(%(workflow_ids)s::text[], %(keys)s::text[], %(offsets)s::int[])
    AS wanted (workflow_id, key, "offset")
JOIN dbos_stream_entry AS entry
  ON entry.workflow_id = wanted.workflow_id
 AND entry.key = wanted.key
 AND entry."offset" = wanted."offset"
