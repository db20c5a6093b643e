-- Find a session that its process has lost, and end it if is_told.
SELECT CASE WHEN %(is_told)s THEN pg_terminate_backend(pid) END
FROM pg_stat_activity
WHERE pid = %(pid)s
  AND application_name = %(application_name)s
  AND usename = session_user
  AND datname = current_database()
  AND pid <> pg_backend_pid()
