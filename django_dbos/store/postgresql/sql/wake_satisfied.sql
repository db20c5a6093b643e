-- Enqueue waiting workflows whose awaited message, event or result is there: after a suspension
-- these workflows, and in the sweep for lost wake-ups all. An array: see claim_workflows. OFFSET 0,
-- since else the planner may read and hash a whole table. coalesce(): of the index of the waiting ones
-- only the sweep makes use, as the statement is planned at each call. A limit, since each row takes 40 µs, and
-- all of them stay locked meanwhile.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    SELECT waiting.workflow_id
    FROM dbos_workflow AS waiting
    WHERE coalesce(waiting.status = 'WAITING' AND waiting.wake_workflow_id IS NOT NULL, false)
      AND (%(workflow_ids)s::text[] IS NOT NULL
           OR waiting.status = 'WAITING' AND waiting.wake_workflow_id IS NOT NULL)
      AND (%(workflow_ids)s::text[] IS NULL
           OR waiting.workflow_id = ANY(%(workflow_ids)s::text[]))
      AND (
          true
          -- include: is_satisfied
          -- Or the awaited workflow is gone. Of several things the others may come: not below.
          OR waiting.wake_kind IN ('event', 'result') AND NOT EXISTS (
              SELECT
              FROM dbos_workflow AS target
              WHERE target.workflow_id = waiting.wake_workflow_id
              OFFSET 0
          )
      )
    LIMIT %(limit)s
    FOR UPDATE OF waiting SKIP LOCKED
) || ARRAY(
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM dbos_workflow AS holder
    CROSS JOIN LATERAL (
        SELECT wake_kind, wake_workflow_id, wake_name, wake_offset
        FROM dbos_wake
        WHERE workflow_id = holder.workflow_id AND claim_number = holder.claim_number
        OFFSET 0
    ) AS waiting
    WHERE coalesce(
            holder.status = 'WAITING' AND holder.wake_workflow_id IS NOT NULL
                AND holder.wake_kind = 'any',
            false
      )
      AND (%(workflow_ids)s::text[] IS NOT NULL
           OR holder.status = 'WAITING' AND holder.wake_workflow_id IS NOT NULL)
      AND (%(workflow_ids)s::text[] IS NULL
           OR holder.workflow_id = ANY(%(workflow_ids)s::text[]))
      -- include: is_satisfied
    LIMIT %(limit)s
    FOR UPDATE OF holder SKIP LOCKED
))
RETURNING
    -- include: lane
