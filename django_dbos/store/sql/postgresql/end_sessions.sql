-- Ends the database sessions of a dead executor: their locks would outlive it for hours.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE application_name = %(application_name)s
  AND datname = current_database()
  AND pid <> pg_backend_pid()
