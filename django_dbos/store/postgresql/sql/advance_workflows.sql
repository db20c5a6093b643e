-- Bring due times, deadlines and the ends of deduplication nearer. For tests.
UPDATE dbos_workflow
SET due_at = due_at - make_interval(secs => %(seconds)s),
    debounce_until = debounce_until - make_interval(secs => %(seconds)s),
    deadline_at = deadline_at - make_interval(secs => %(seconds)s),
    unique_until = unique_until - make_interval(secs => %(seconds)s)
WHERE unique_until IS NOT NULL
   OR status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
  AND (due_at IS NOT NULL OR deadline_at IS NOT NULL)
