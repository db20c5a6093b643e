-- Lock a schedule: whoever starts its instants skips it, and whoever changes it waits.
SELECT
    -- include: schedule_columns
FROM dbos_schedule AS schedule
WHERE schedule.name = %(name)s
FOR UPDATE
