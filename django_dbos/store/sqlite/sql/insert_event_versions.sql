INSERT INTO dbos_event_version (
    workflow_id, key, version, value, step_number, write_id, created_at
)
VALUES (
    %(workflow_id)s, %(key)s, %(version)s, %(value)s, %(step_number)s, %(write_id)s, %(now)s
)
