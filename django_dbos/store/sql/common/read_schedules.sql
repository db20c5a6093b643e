-- Return all schedules.
SELECT
    -- include: schedule_columns
FROM dbos_schedule AS schedule
ORDER BY schedule.name
