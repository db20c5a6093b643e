-- The columns that a claim sets. A timeout runs from the first claim on.
SET status = 'PENDING',
    executor_id = %(executor_id)s,
    claim_number = claim_number + 1,
    started_at = coalesce(started_at, %(now)s),
    deadline_at = coalesce(
        deadline_at,
        strftime('%%Y-%%m-%%d %%H:%%M:%%f000', %(now)s, (min(timeout, 31557600000000000) / 1000000.0) || ' seconds')
    )
