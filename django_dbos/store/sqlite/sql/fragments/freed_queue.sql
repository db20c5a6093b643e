-- The queue, if a place in its limits may have become free: nothing here reads the row as it was.
-- (coalesce(): in RETURNING of SQLite 3.40, IS NOT NULL is true of NULL, too.)
CASE WHEN
    place = 0
    AND coalesce(started_at, '') <> ''
    AND EXISTS (SELECT 1 FROM dbos_queue AS queue WHERE queue.name = queue_name AND queue.is_managed)
THEN queue_name END AS freed_queue
