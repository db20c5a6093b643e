-- Return how many seconds ago the first and last heartbeats of other executors were: the database
-- could be reached then.
SELECT
    extract(epoch FROM clock_timestamp() - started_at)::float8,
    CASE WHEN heartbeat_at > '-infinity' THEN
        extract(epoch FROM clock_timestamp() - heartbeat_at)::float8
    END
FROM dbos_executor
WHERE executor_id <> %(executor_id)s
