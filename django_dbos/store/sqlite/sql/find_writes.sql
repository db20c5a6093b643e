-- Return those of these writes that are in the tables, after the answer to a COMMIT was lost.
SELECT write_id
FROM dbos_stream_entry
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND write_id IN (SELECT value FROM json_each(%(write_ids)s))
UNION ALL
SELECT write_id
FROM dbos_event_version
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND write_id IN (SELECT value FROM json_each(%(write_ids)s))
