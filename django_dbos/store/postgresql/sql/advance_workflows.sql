-- Bring due times and deadlines nearer. For tests.
UPDATE dbos_workflow
SET due_at = due_at - make_interval(secs => %(seconds)s),
    deadline_at = deadline_at - make_interval(secs => %(seconds)s)
WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
  AND (due_at IS NOT NULL OR deadline_at IS NOT NULL)
