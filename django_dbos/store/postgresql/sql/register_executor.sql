-- Insert an executor's row.
INSERT INTO dbos_executor (
    executor_id, hostname, pid, is_inline, queue_names, workflow_names, concurrency, has_lock,
    lock_key, lease, versions, started_at, heartbeat_at
)
VALUES (
    %(executor_id)s, %(hostname)s, %(pid)s, %(is_inline)s, %(queue_names)s::jsonb,
    %(workflow_names)s::jsonb, %(concurrency)s, %(has_lock)s, %(lock_key)s,
    make_interval(secs => %(lease)s), %(versions)s::jsonb, clock_timestamp(), clock_timestamp()
)
ON CONFLICT DO NOTHING
