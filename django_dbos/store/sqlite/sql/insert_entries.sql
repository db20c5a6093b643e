INSERT INTO dbos_stream_entry (
    workflow_id, key, "offset", value, is_end, step_number, write_id, created_at
)
VALUES (
    %(workflow_id)s, %(key)s, %(offset)s, %(value)s, %(value)s IS NULL, %(step_number)s,
    %(write_id)s, %(now)s
)
