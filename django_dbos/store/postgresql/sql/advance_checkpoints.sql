-- Bring the deadlines of waits nearer. For tests.
UPDATE dbos_checkpoint
SET deadline_at = deadline_at - make_interval(secs => %(seconds)s)
WHERE state = 1 AND deadline_at IS NOT NULL
