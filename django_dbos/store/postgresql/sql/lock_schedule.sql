-- Lock a schedule: executors that start its instants skip it, and other changes of it wait.
SELECT
    -- include: schedule_columns
FROM dbos_schedule AS schedule
WHERE schedule.name = %(name)s
FOR UPDATE
