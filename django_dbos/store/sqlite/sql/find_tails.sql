-- Return the last entry of each stream.
SELECT entry.workflow_id, entry.key, max(entry."offset"), max(entry.is_end)
FROM json_each(%(rows)s) AS wanted
CROSS JOIN dbos_stream_entry AS entry
  ON entry.workflow_id = json_extract(wanted.value, '$[0]')
 AND entry.key = json_extract(wanted.value, '$[1]')
GROUP BY entry.workflow_id, entry.key
