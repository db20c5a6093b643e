-- The awaited end or entry came a while ago, so that its wake-up isn't on its way any more.
AND CASE waiting.wake_kind
    WHEN 'result' THEN EXISTS (
        SELECT
        FROM dbos_workflow AS target
        WHERE target.workflow_id = waiting.wake_workflow_id
          AND target.finished_at < clock_timestamp() - interval '1 second'
          AND NOT target.is_quarantined
        OFFSET 0
    )
    WHEN 'stream' THEN EXISTS (
        SELECT
        FROM dbos_workflow AS target
        WHERE target.workflow_id = waiting.wake_workflow_id
          AND target.finished_at < clock_timestamp() - interval '1 second'
        OFFSET 0
    ) OR (
        SELECT created_at < clock_timestamp() - interval '1 second'
        FROM dbos_stream_entry
        WHERE workflow_id = waiting.wake_workflow_id
          AND key = waiting.wake_name
          AND "offset" >= waiting.wake_offset
        ORDER BY "offset"
        LIMIT 1
    )
END
