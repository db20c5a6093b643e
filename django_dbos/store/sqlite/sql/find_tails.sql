-- Return the last entry of each stream: one look-up from the end, however long the stream is.
SELECT entry.workflow_id, entry.key, entry."offset", entry.is_end
FROM json_each(%(rows)s) AS wanted
CROSS JOIN dbos_stream_entry AS entry
  ON entry.workflow_id = json_extract(wanted.value, '$[0]')
 AND entry.key = json_extract(wanted.value, '$[1]')
 AND entry."offset" = (
     SELECT max("offset")
     FROM dbos_stream_entry
     WHERE workflow_id = json_extract(wanted.value, '$[0]')
       AND key = json_extract(wanted.value, '$[1]')
 )
