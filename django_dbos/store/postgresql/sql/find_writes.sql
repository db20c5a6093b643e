-- Return those of these writes that are in the tables, after the answer to a COMMIT was lost.
SELECT write_id
FROM dbos_stream_entry
WHERE workflow_id = ANY(%(workflow_ids)s::text[]) AND write_id = ANY(%(write_ids)s::uuid[])
UNION ALL
SELECT write_id
FROM dbos_event_version
WHERE workflow_id = ANY(%(workflow_ids)s::text[]) AND write_id = ANY(%(write_ids)s::uuid[])
