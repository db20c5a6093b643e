-- Return a schedule, in a transaction that holds the database's write lock.
SELECT
    -- include: schedule_columns
FROM dbos_schedule AS schedule
WHERE schedule.name = %(name)s
