-- Return the seconds until the first instant that wasn't due yet at a time; NULL if there is none.
SELECT (julianday(min(next_at)) - julianday(%(now)s)) * 86400.0
FROM dbos_schedule
WHERE next_at > %(since)s
