-- Ends an executor's right to claim. Its row stays until its work is released.
UPDATE dbos_executor
SET heartbeat_at = '-infinity'
WHERE executor_id = (
    SELECT executor_id
    FROM dbos_executor
    WHERE executor_id = %(executor_id)s
      AND (%(is_unlocked)s OR heartbeat_at + lease < clock_timestamp())
    FOR UPDATE SKIP LOCKED
)
RETURNING executor_id
