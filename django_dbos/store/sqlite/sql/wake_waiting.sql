-- Enqueue workflows that wait for data that is there now. The data was committed before.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id IN (
    SELECT waiting.workflow_id
    FROM json_each(%(wakes)s) AS there
    CROSS JOIN dbos_workflow AS waiting
      ON waiting.wake_workflow_id = json_extract(there.value, '$[1]')
     AND waiting.wake_kind = json_extract(there.value, '$[0]')
     AND waiting.wake_name = json_extract(there.value, '$[2]')
    WHERE json_extract(there.value, '$[0]') <> 'result'
      AND waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
    UNION ALL
    -- With a workflow all its streams end; with a quarantined one only these, which have no name.
    SELECT waiting.workflow_id
    FROM json_each(%(wakes)s) AS there
    CROSS JOIN dbos_workflow AS waiting
      ON waiting.wake_workflow_id = json_extract(there.value, '$[1]')
     AND waiting.wake_kind IN (json_extract(there.value, '$[0]'), 'stream')
    WHERE json_extract(there.value, '$[0]') IN ('result', 'stream')
      AND json_extract(there.value, '$[2]') = ''
      AND waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
    UNION ALL
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM json_each(%(wakes)s) AS there
    CROSS JOIN dbos_wake AS waiting
      ON waiting.wake_workflow_id = json_extract(there.value, '$[1]')
    CROSS JOIN dbos_workflow AS holder
      ON holder.workflow_id = waiting.workflow_id AND holder.claim_number = waiting.claim_number
    WHERE holder.status = 'WAITING'
      AND holder.wake_kind = 'any'
      AND (
          (
              waiting.wake_kind = json_extract(there.value, '$[0]')
              AND waiting.wake_name = json_extract(there.value, '$[2]')
          )
          OR (
              json_extract(there.value, '$[0]') IN ('result', 'stream')
              AND json_extract(there.value, '$[2]') = ''
              AND waiting.wake_kind IN (json_extract(there.value, '$[0]'), 'stream')
          )
      )
)
RETURNING
    -- include: lane
