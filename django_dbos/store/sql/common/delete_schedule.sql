-- Delete a schedule.
DELETE FROM dbos_schedule WHERE name = %(name)s RETURNING name
