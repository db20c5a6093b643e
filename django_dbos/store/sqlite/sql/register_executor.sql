-- Insert an executor's row.
INSERT INTO dbos_executor (
    executor_id, hostname, pid, is_inline, queue_names, workflow_names, concurrency, has_lock,
    lock_key, lease, versions, started_at, heartbeat_at
)
VALUES (
    %(executor_id)s, %(hostname)s, %(pid)s, %(is_inline)s, %(queue_names)s, %(workflow_names)s,
    %(concurrency)s, %(has_lock)s, %(lock_key)s, %(lease_microseconds)s, %(versions)s, %(now)s,
    %(now)s
)
ON CONFLICT DO NOTHING
