-- The claiming process has registered the function, in the version that the workflow began with.
AND name = ANY(%(names)s::text[])
AND (version IS NULL OR version = '' OR name || '@' || version = ANY(%(names)s::text[]))
