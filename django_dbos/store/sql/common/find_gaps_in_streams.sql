-- Return the streams of a workflow that have gaps: concurrent branches wrote to them.
SELECT key
FROM dbos_stream_entry
WHERE workflow_id = %(workflow_id)s
GROUP BY key
HAVING max("offset") <> count(*) - 1
