-- Take the lock of an executor's session. It is held as long as the session, and shows that the
-- process lives.
SELECT pg_try_advisory_lock(%(lock_key)s)
