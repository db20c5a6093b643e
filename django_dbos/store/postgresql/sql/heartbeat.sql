-- Record a heartbeat and report what is due: the one statement of an idle executor. Only a thorough
-- heartbeat counts enqueued and held workflows: see Throttle. No stored time may fail the
-- statement: a difference of instants would at infinity, a difference of epochs does not.
WITH beat AS (
    UPDATE dbos_executor
    SET heartbeat_at = clock_timestamp()
    WHERE executor_id = %(executor_id)s AND heartbeat_at > '-infinity'
    RETURNING executor_id, drain_requested_at
)
SELECT
    EXISTS (SELECT FROM beat) AS is_registered,
    %(is_thorough)s AND EXISTS (
        SELECT FROM dbos_workflow WHERE status = 'ENQUEUED'
    ) AS has_enqueued,
    (
        SELECT (extract(epoch FROM min(due_at)) - extract(epoch FROM clock_timestamp()))::float8
        FROM dbos_workflow
        WHERE status IN ('DELAYED', 'WAITING') AND due_at IS NOT NULL
    ) AS next_due,
    (
        SELECT (extract(epoch FROM min(deadline_at)) - extract(epoch FROM clock_timestamp()))::float8
        FROM dbos_workflow
        WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING') AND deadline_at IS NOT NULL
    ) AS next_deadline,
    (
        SELECT (extract(epoch FROM min(next_at)) - extract(epoch FROM clock_timestamp()))::float8
        FROM dbos_schedule
        WHERE next_at IS NOT NULL
    ) AS next_schedule,
    CASE WHEN %(is_thorough)s THEN (
        SELECT count(*)
        FROM dbos_workflow
        WHERE status = 'PENDING' AND executor_id = %(executor_id)s
    ) + (
        SELECT count(*)
        FROM dbos_workflow
        WHERE status <> 'PENDING' AND place > 0 AND executor_id = %(executor_id)s
    ) END AS held_count,
    -- Each with the seconds since its last heartbeat.
    ARRAY(
        SELECT ARRAY[
            executor_id::text,
            CASE WHEN heartbeat_at = '-infinity' THEN 'inf'
            ELSE extract(epoch FROM clock_timestamp() - heartbeat_at)::text END
        ]
        FROM dbos_executor
        WHERE executor_id <> %(executor_id)s
          AND heartbeat_at + least(lease, interval '1000 years') < clock_timestamp()
    ) AS expired_executors,
    ARRAY(
        SELECT ARRAY[
            executor.executor_id::text,
            CASE WHEN executor.heartbeat_at = '-infinity' THEN 'inf'
            ELSE extract(epoch FROM clock_timestamp() - executor.heartbeat_at)::text END
        ]
        FROM dbos_executor AS executor
        WHERE executor.executor_id <> %(executor_id)s
          AND executor.has_lock
          AND NOT EXISTS (
              SELECT
              FROM pg_locks
              WHERE locktype = 'advisory'
                AND objsubid = 1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND classid = (executor.lock_key >> 32)::bigint::oid
                AND objid = (executor.lock_key & 4294967295)::oid
          )
    ) AS unlocked_executors,
    -- Without marks the search would read all messages: the sweep does it, if any workflow waits.
    (
        %(message_mark)s::bigint IS NULL AND EXISTS (
            SELECT
            FROM dbos_workflow
            WHERE status = 'WAITING' AND wake_workflow_id IS NOT NULL
        )
    ) OR EXISTS (
        SELECT
        -- OFFSET 0: from the few new rows to those that wait for them, not through all that wait.
        FROM dbos_message AS message
        CROSS JOIN LATERAL (
            SELECT
            FROM dbos_workflow
            WHERE status = 'WAITING'
              AND wake_workflow_id = message.workflow_id
              AND wake_kind = 'message'
              AND wake_name = message.topic
            OFFSET 0
        ) AS awaited
        WHERE message.message_id > %(message_mark)s::bigint AND message.consumed_at IS NULL
    ) OR EXISTS (
        SELECT
        FROM dbos_event AS event
        CROSS JOIN LATERAL (
            SELECT
            FROM dbos_workflow
            WHERE status = 'WAITING'
              AND wake_workflow_id = event.workflow_id
              AND wake_kind = 'event'
              AND wake_name = event.key
            OFFSET 0
        ) AS awaited
        WHERE event.event_id > %(event_mark)s::bigint
    ) OR EXISTS (
        -- The same for waits for any of several things.
        SELECT
        FROM dbos_message AS message
        CROSS JOIN LATERAL (
            SELECT workflow_id, claim_number
            FROM dbos_wake
            WHERE wake_workflow_id = message.workflow_id
              AND wake_kind = 'message'
              AND wake_name = message.topic
            OFFSET 0
        ) AS waiting
        -- include: holder_of_wakes
        WHERE message.message_id > %(message_mark)s::bigint
          AND message.consumed_at IS NULL
    ) OR EXISTS (
        SELECT
        FROM dbos_event AS event
        CROSS JOIN LATERAL (
            SELECT workflow_id, claim_number
            FROM dbos_wake
            WHERE wake_workflow_id = event.workflow_id
              AND wake_kind = 'event'
              AND wake_name = event.key
            OFFSET 0
        ) AS waiting
        -- include: holder_of_wakes
        WHERE event.event_id > %(event_mark)s::bigint
    ) OR %(is_thorough)s AND EXISTS (
        -- Ends and entries of streams have no numbers in their order. These are the waits for the
        -- newest workflows, of any kind so that no more are read; the sweep searches all.
        SELECT
        FROM (
            SELECT wake_kind, wake_workflow_id, wake_name, wake_offset
            FROM dbos_workflow
            WHERE status = 'WAITING' AND wake_workflow_id IS NOT NULL
            ORDER BY wake_workflow_id DESC
            LIMIT 200
        ) AS waiting
        WHERE waiting.wake_kind IN ('result', 'stream')
          -- include: has_long_come
    ) OR %(is_thorough)s AND EXISTS (
        SELECT
        FROM (SELECT * FROM dbos_wake ORDER BY wake_workflow_id DESC LIMIT 200) AS waiting
        -- include: holder_of_wakes
        WHERE waiting.wake_kind IN ('result', 'stream')
          -- include: has_long_come
    ) AS has_lost_wakeup,
    EXISTS (SELECT FROM beat WHERE drain_requested_at IS NOT NULL) AS must_drain,
    (SELECT coalesce(max(message_id), 0) FROM dbos_message) AS message_mark,
    (SELECT coalesce(max(event_id), 0) FROM dbos_event) AS event_mark
