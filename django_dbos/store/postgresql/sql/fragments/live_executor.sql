-- The executor's row, locked against declare_dead while the executor claims.
SELECT executor_id
FROM dbos_executor
WHERE executor_id = %(executor_id)s AND heartbeat_at > '-infinity'
FOR KEY SHARE SKIP LOCKED
