-- Delete an executor's row.
DELETE FROM dbos_executor WHERE executor_id = %(executor_id)s
