-- Record whether a lock shows that the executor's process lives.
UPDATE dbos_executor
SET has_lock = %(has_lock)s
WHERE executor_id = %(executor_id)s AND heartbeat_at > '-infinity'
