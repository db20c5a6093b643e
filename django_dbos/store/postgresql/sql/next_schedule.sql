-- Return the seconds until the first instant that wasn't due yet at a time; NULL if there is none.
SELECT (extract(epoch FROM min(next_at)) - extract(epoch FROM clock_timestamp()))::float8
FROM dbos_schedule
WHERE next_at > %(since)s::timestamp AT TIME ZONE 'UTC'
