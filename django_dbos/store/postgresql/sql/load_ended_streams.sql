-- Return the streams that these workflows have closed.
SELECT workflow_id, key
FROM dbos_stream_entry
WHERE workflow_id = ANY(%(workflow_ids)s::text[]) AND is_end
