-- Return the streams that these workflows have closed.
SELECT workflow_id, key
FROM dbos_stream_entry
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s)) AND is_end
