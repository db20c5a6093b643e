-- The claiming process has registered the function, in the version that the workflow began with.
AND name IN (SELECT value FROM json_each(%(names)s))
AND (
    version IS NULL
    OR version = ''
    OR name || '@' || version IN (SELECT value FROM json_each(%(names)s))
)
