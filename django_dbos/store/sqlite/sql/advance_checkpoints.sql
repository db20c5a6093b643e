-- Bring the deadlines of waits nearer. For tests.
UPDATE dbos_checkpoint
SET deadline_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', deadline_at, printf('-%%.6f seconds', %(seconds)s))
WHERE state = 1 AND deadline_at IS NOT NULL
