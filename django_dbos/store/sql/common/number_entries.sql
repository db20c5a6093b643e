-- Number the entries of a stream with gaps, below 0: the offsets from 0 on aren't free yet.
UPDATE dbos_stream_entry
SET "offset" = -numbered.position
FROM (
    SELECT "offset", row_number() OVER (ORDER BY "offset") AS position
    FROM dbos_stream_entry
    WHERE workflow_id = %(workflow_id)s AND key = %(key)s
) AS numbered
WHERE dbos_stream_entry.workflow_id = %(workflow_id)s
  AND dbos_stream_entry.key = %(key)s
  AND dbos_stream_entry."offset" = numbered."offset"
