-- Claims one workflow by its id, for an executor that awaits its result.
UPDATE dbos_workflow
SET status = 'PENDING',
    executor_id = %(executor_id)s,
    claim_number = claim_number + 1,
    started_at = coalesce(started_at, %(now)s),
    deadline_at = coalesce(
        deadline_at,
        strftime('%%Y-%%m-%%d %%H:%%M:%%f000', %(now)s, (min(timeout, 31557600000000000) / 1000000.0) || ' seconds')
    )
WHERE workflow_id = %(workflow_id)s AND status = 'ENQUEUED'
RETURNING
    -- columns: claim,
    (julianday(deadline_at) - julianday(%(now)s)) * 86400.0 AS remaining,
    claim_number > 1 AS has_history, queue_sequence
