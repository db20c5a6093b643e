-- Bring due times, deadlines and the ends of deduplication nearer. For tests.
UPDATE dbos_workflow
SET due_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', due_at, printf('-%%.6f seconds', %(seconds)s)),
    debounce_until = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', debounce_until, printf('-%%.6f seconds', %(seconds)s)),
    deadline_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', deadline_at, printf('-%%.6f seconds', %(seconds)s)),
    unique_until = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', unique_until, printf('-%%.6f seconds', %(seconds)s))
WHERE unique_until IS NOT NULL
   OR status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
  AND (due_at IS NOT NULL OR deadline_at IS NOT NULL)
