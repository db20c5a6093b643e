-- A waiting workflow need not wait: its message, event, result or entry is there, or won't come.
AND CASE waiting.wake_kind
    WHEN 'message' THEN EXISTS (
        SELECT 1
        FROM dbos_message AS message
        WHERE message.workflow_id = waiting.wake_workflow_id
          AND message.topic = waiting.wake_name
          AND message.consumed_at IS NULL
    )
    WHEN 'event' THEN EXISTS (
        SELECT 1
        FROM dbos_event AS event
        WHERE event.workflow_id = waiting.wake_workflow_id
          AND event.key = waiting.wake_name
    )
    WHEN 'result' THEN EXISTS (
        SELECT 1
        FROM dbos_workflow AS target
        WHERE target.workflow_id = waiting.wake_workflow_id
          AND target.finished_at IS NOT NULL
          AND NOT target.is_quarantined
    )
    WHEN 'stream' THEN NOT EXISTS (
        SELECT 1
        FROM dbos_workflow AS target
        WHERE target.workflow_id = waiting.wake_workflow_id
          AND target.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
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
          AND child.parent_step_number = CAST(waiting.wake_name AS INTEGER)
          AND child.status IN ('CANCELLED', 'ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
          AND NOT child.is_quarantined
    )
END
