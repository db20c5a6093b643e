-- The end of the queue. In a managed queue workflows that have run come before those that never
-- did, and those that have kept their places as well (rule 60). Elsewhere claims continue above a
-- watermark, and would not see them there.
queue_sequence = (
    -- include: next_position
) - CASE
    WHEN place = 2 OR started_at IS NOT NULL AND EXISTS (
        SELECT 1 FROM dbos_queue AS queue WHERE queue.name = queue_name AND queue.is_managed
    ) THEN 4611686018427387904
    ELSE 0
END
