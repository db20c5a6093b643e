-- Bring the ends of forms and callbacks nearer. For tests.
UPDATE dbos_inquiry
SET created_at = created_at - make_interval(secs => %(seconds)s),
    expires_at = expires_at - make_interval(secs => %(seconds)s)
WHERE answered_at IS NULL AND closed_at IS NULL
