-- Enqueue a workflow that waits for a message of this topic, and notify executors of its lane when
-- that is committed: the caller needs no second message to the server. The payload is that of
-- _lane_payload().
WITH woken AS (
    -- include: wake_receiver
)
SELECT
    queue_name,
    priority,
    pg_notify(%(lane_channel)s, json_build_array(queue_name, priority)::text)
FROM woken
