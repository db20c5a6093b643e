-- Enqueue workflows that wait for data that is there now: a message, an event, an entry of a stream.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id IN (
    SELECT waiting.workflow_id
    FROM json_each(%(rows)s) AS there
    CROSS JOIN dbos_workflow AS waiting
      ON waiting.wake_workflow_id = json_extract(there.value, '$[1]')
     AND waiting.wake_kind = json_extract(there.value, '$[0]')
     AND waiting.wake_name = json_extract(there.value, '$[2]')
    WHERE waiting.status = 'WAITING' AND waiting.wake_workflow_id IS NOT NULL
    UNION ALL
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM json_each(%(rows)s) AS there
    CROSS JOIN dbos_wake AS waiting
      ON waiting.wake_workflow_id = json_extract(there.value, '$[1]')
     AND waiting.wake_kind = json_extract(there.value, '$[0]')
     AND waiting.wake_name = json_extract(there.value, '$[2]')
    -- include: holder_of_wakes
)
RETURNING
    -- include: lane
