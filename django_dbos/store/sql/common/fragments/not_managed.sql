-- The queue has no limits, and isn't paused: else it is claimed under the lock of its row.
AND NOT EXISTS (
    SELECT 1 FROM dbos_queue AS queue WHERE queue.name = queue_name AND queue.is_managed
)
