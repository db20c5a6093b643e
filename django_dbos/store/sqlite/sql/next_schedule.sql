-- Return the seconds until the next instant of any schedule that isn't due yet; NULL if there is none.
SELECT (julianday(min(next_at)) - julianday(%(now)s)) * 86400.0
FROM dbos_schedule
WHERE next_at > %(now)s
