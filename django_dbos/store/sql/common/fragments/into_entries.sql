INSERT INTO dbos_stream_entry (
    workflow_id, key, "offset", value, is_end, step_number, write_id, created_at
)
