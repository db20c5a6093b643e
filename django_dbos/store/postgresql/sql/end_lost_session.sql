-- Finds a session whose connection was lost, and which may still carry out its last statement; ends
-- it if it must end. Names are compared too, since the server may have given the number to another
-- session by now.
SELECT CASE WHEN %(must_end)s THEN pg_terminate_backend(pid) END
FROM pg_stat_activity
WHERE pid = %(pid)s
  AND application_name = %(application_name)s
  AND usename = %(user_name)s
  AND datname = current_database()
  AND pid <> pg_backend_pid()
