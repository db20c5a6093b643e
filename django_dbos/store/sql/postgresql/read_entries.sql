-- Entries of a stream from an offset on.
SELECT "offset", value, is_end
FROM dbos_stream_entry
WHERE workflow_id = %(workflow_id)s AND key = %(key)s AND "offset" >= %(offset)s
ORDER BY "offset"
LIMIT %(limit)s
