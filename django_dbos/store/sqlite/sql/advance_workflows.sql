-- Bring due times and deadlines nearer. For tests.
UPDATE dbos_workflow
SET due_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', due_at, printf('-%%.6f seconds', %(seconds)s)),
    deadline_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', deadline_at, printf('-%%.6f seconds', %(seconds)s))
WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
  AND (due_at IS NOT NULL OR deadline_at IS NOT NULL)
