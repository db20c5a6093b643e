-- End the database sessions of a dead executor: their locks would outlive it for hours. A session
-- that this role may not end is returned with its own role: one error would keep the others alive.
SELECT session.usename, ending.is_allowed AND pg_terminate_backend(session.pid) AS is_ended
FROM pg_stat_activity AS session
JOIN pg_roles AS role ON role.oid = session.usesysid
CROSS JOIN LATERAL (
    SELECT
        pg_has_role(role.oid, 'usage')
        OR NOT role.rolsuper AND pg_has_role('pg_signal_backend', 'usage') AS is_allowed
) AS ending
WHERE session.application_name = %(application_name)s
  AND session.datname = current_database()
  AND session.pid <> pg_backend_pid()
