-- Says that a lock shows whether the executor's process lives.
UPDATE dbos_executor
SET has_lock = true
WHERE executor_id = %(executor_id)s AND heartbeat_at > '-infinity'
