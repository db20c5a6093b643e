-- Return the values of entries of streams.
SELECT entry.workflow_id, entry.key, entry."offset", entry.value
FROM json_each(%(rows)s) AS wanted
CROSS JOIN dbos_stream_entry AS entry
  ON entry.workflow_id = json_extract(wanted.value, '$[0]')
 AND entry.key = json_extract(wanted.value, '$[1]')
 AND entry."offset" = json_extract(wanted.value, '$[2]')
