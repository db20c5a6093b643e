-- Return the schedules that are due, with the time, in a transaction that holds the database's
-- write lock. An executor with older time-zone data leaves the others a moment to go first.
SELECT
    -- include: schedule_columns
    , %(now)s
FROM dbos_schedule AS schedule
WHERE schedule.next_at <= %(now)s
  AND (
      schedule.tzdata <= %(tzdata)s
      OR (julianday(%(now)s) - julianday(schedule.next_at)) * 86400.0 >= %(patience)s
  )
  AND schedule.name NOT IN (SELECT value FROM json_each(%(without)s))
  AND (%(only)s IS NULL OR schedule.name = %(only)s)
ORDER BY schedule.next_at, schedule.name
LIMIT %(limit)s
