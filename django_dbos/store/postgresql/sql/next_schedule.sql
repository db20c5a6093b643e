-- Return the seconds until the next instant of any schedule that isn't due yet; NULL if there is none.
SELECT (extract(epoch FROM min(next_at)) - extract(epoch FROM clock_timestamp()))::float8
FROM dbos_schedule
WHERE next_at > (SELECT clock_timestamp())
