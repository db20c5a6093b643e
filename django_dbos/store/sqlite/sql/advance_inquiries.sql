-- Bring the ends of forms and callbacks nearer. For tests.
UPDATE dbos_inquiry
SET created_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', created_at, printf('-%%.6f seconds', %(seconds)s)),
    expires_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', expires_at, printf('-%%.6f seconds', %(seconds)s))
WHERE answered_at IS NULL AND closed_at IS NULL
