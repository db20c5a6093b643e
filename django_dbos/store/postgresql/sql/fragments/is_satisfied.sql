-- A waiting workflow need not wait: its message, event, result or entry is there, or won't come.
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
    -- More children of a step have failed than are tolerated.
    WHEN 'failures' THEN (
        SELECT count(*) > waiting.wake_offset
        FROM dbos_workflow AS child
        WHERE child.parent_id = waiting.wake_workflow_id
          AND child.parent_step_number = waiting.wake_name::int
          -- coalesce(): of these children, not of all that have failed.
          AND coalesce(
              child.status IN ('CANCELLED', 'ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'), false
          )
          AND NOT child.is_quarantined
    )
END
