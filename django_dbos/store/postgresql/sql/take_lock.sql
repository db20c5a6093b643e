-- Held as long as the session lives: shows that the executor's process does.
SELECT pg_try_advisory_lock(%(lock_key)s)
