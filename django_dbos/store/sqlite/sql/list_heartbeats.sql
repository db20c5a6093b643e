-- Return how many seconds ago the first and last heartbeats of other executors were: the database
-- could be reached then.
SELECT
    (julianday(%(now)s) - julianday(started_at)) * 86400.0,
    CASE WHEN heartbeat_at > '0001-01-01 00:00:00.000000' THEN
        (julianday(%(now)s) - julianday(heartbeat_at)) * 86400.0
    END
FROM dbos_executor
WHERE executor_id <> %(executor_id)s
