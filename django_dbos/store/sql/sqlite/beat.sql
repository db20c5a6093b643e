UPDATE dbos_executor
SET heartbeat_at = %(now)s
WHERE executor_id = %(executor_id)s AND heartbeat_at > '0001-01-01 00:00:00.000000'
RETURNING executor_id
