-- No one has declared the executor dead.
AND EXISTS (
    SELECT 1
    FROM dbos_executor
    WHERE executor_id = %(executor_id)s AND heartbeat_at > '0001-01-01 00:00:00.000000'
)
