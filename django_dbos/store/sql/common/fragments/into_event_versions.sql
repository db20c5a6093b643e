INSERT INTO dbos_event_version (
    workflow_id, key, version, value, step_number, write_id, created_at
)
