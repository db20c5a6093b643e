-- Lock the schedules that are due, and return them with the time by which they are. Those that
-- another executor has locked are its own to start. An executor with older time-zone data leaves
-- the others a moment to go first. The time is a subquery, since an index can look up nothing else.
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
)
SELECT
    -- include: schedule_columns
    , (SELECT to_char(now AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM clock)
FROM dbos_schedule AS schedule
WHERE schedule.next_at <= (SELECT now FROM clock)
  AND (
      schedule.tzdata <= %(tzdata)s
      OR schedule.next_at <= (SELECT now FROM clock) - make_interval(secs => %(patience)s)
  )
  AND schedule.name <> ALL(%(without)s::text[])
  AND (%(only)s::text IS NULL OR schedule.name = %(only)s)
ORDER BY schedule.next_at, schedule.name
LIMIT %(limit)s
FOR UPDATE OF schedule SKIP LOCKED
