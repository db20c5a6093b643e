-- Enqueue waiting workflows whose awaited message, event or result is there: after a suspension
-- these workflows, and in the sweep for lost wake-ups all. An array: see claim_workflows. OFFSET 0,
-- since else the planner may read and hash a whole table. A limit, since each row takes 40 µs, and
-- all of them stay locked meanwhile.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(ARRAY(
    SELECT waiting.workflow_id
    FROM dbos_workflow AS waiting
    WHERE waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
      AND (%(workflow_ids)s::text[] IS NULL
           OR waiting.workflow_id = ANY(%(workflow_ids)s::text[]))
      AND CASE waiting.wake_kind
          WHEN 'message' THEN EXISTS (
              SELECT
              FROM dbos_message
              WHERE workflow_id = waiting.wake_workflow_id
                AND topic = waiting.wake_name
                AND consumed_at IS NULL
              OFFSET 0
          )
          WHEN 'event' THEN EXISTS (
              SELECT
              FROM dbos_event
              WHERE workflow_id = waiting.wake_workflow_id AND key = waiting.wake_name
              OFFSET 0
          )
          WHEN 'result' THEN EXISTS (
              SELECT
              FROM dbos_workflow AS target
              WHERE target.workflow_id = waiting.wake_workflow_id
                AND target.finished_at IS NOT NULL
                AND NOT target.is_quarantined
              OFFSET 0
          )
          -- An entry, the end of the stream, or that of its workflow, even of its row.
          WHEN 'stream' THEN NOT EXISTS (
              SELECT
              FROM dbos_workflow AS target
              WHERE target.workflow_id = waiting.wake_workflow_id
                AND target.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
              OFFSET 0
          ) OR (
              SELECT is_end OR "offset" >= waiting.wake_offset
              FROM dbos_stream_entry
              WHERE workflow_id = waiting.wake_workflow_id AND key = waiting.wake_name
              ORDER BY "offset" DESC
              LIMIT 1
          )
      END
    LIMIT %(limit)s
    FOR UPDATE OF waiting SKIP LOCKED
))
RETURNING
    -- include: lane
