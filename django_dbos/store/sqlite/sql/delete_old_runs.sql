-- Delete past runs that ended long ago, the oldest first; their workflows may be active.
DELETE FROM dbos_past_run
WHERE rowid IN (
    SELECT rowid
    FROM dbos_past_run
    WHERE ended_at < %(before)s
    ORDER BY ended_at
    LIMIT %(limit)s
)
RETURNING 1
