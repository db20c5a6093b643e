-- End an executor's right to claim. Its row stays until its workflows are released. A free lock
-- means death only together with silence: a living executor may just have lost its connection.
UPDATE dbos_executor
SET heartbeat_at = '-infinity'
WHERE executor_id = (
    SELECT executor_id
    FROM dbos_executor
    WHERE executor_id = %(executor_id)s
      AND (
          heartbeat_at + least(lease, interval '1000 years') < clock_timestamp()
          OR %(is_unlocked)s AND heartbeat_at + make_interval(secs => %(silence)s)
              < clock_timestamp()
      )
    FOR UPDATE SKIP LOCKED
)
RETURNING executor_id
