-- Delete past runs that ended long ago, the oldest first; their workflows may be active.
DELETE FROM dbos_past_run
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM dbos_past_run
    WHERE ended_at < (SELECT clock_timestamp() - make_interval(secs => %(age)s))
    ORDER BY ended_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING 1
