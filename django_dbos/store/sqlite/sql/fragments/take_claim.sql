-- The columns that a claim sets. A timeout runs from the first claim on. A workflow without a version
-- is given the one that it will be run by, and keeps it (CORRECTNESS rule 98).
SET status = 'PENDING',
    executor_id = %(executor_id)s,
    claim_number = claim_number + 1,
    version = CASE
        WHEN version IS NULL OR version = '' THEN (
            SELECT json_extract(value, CASE WHEN version IS NULL THEN '$[1]' ELSE '$[0]' END)
            FROM json_each(%(adopted)s)
            WHERE key = name
        )
        ELSE version
    END,
    started_at = coalesce(started_at, %(now)s),
    deadline_at = coalesce(
        deadline_at,
        strftime('%%Y-%%m-%%d %%H:%%M:%%f000', %(now)s, (min(timeout, 31557600000000000) / 1000000.0) || ' seconds')
    )
