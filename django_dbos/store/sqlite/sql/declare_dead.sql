-- End an executor's right to claim. Its row stays until its workflows are released. A free lock
-- means death only together with silence: a living executor may just have lost its connection.
UPDATE dbos_executor
SET heartbeat_at = '0001-01-01 00:00:00.000000'
WHERE executor_id = %(executor_id)s
  AND (
      julianday(heartbeat_at) + lease / 86400000000.0 < julianday(%(now)s)
      OR %(is_unlocked)s AND julianday(heartbeat_at) + %(silence)s / 86400.0 <= julianday(%(now)s)
  )
RETURNING executor_id
