-- End a session whose connection was lost and which may still carry out its last statement. The
-- name is compared, too, since the server may have given the pid to another session.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE pid = %(pid)s AND application_name = %(application_name)s AND pid <> pg_backend_pid()
