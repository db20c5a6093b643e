-- Claims the next workflows of one queue and priority, from a place in the queue on: at that place
-- there may be more, since all that one statement enqueues again has the same.
UPDATE dbos_workflow
SET status = 'PENDING',
    executor_id = %(executor_id)s,
    claim_number = claim_number + 1,
    started_at = coalesce(started_at, %(now)s),
    deadline_at = coalesce(
        deadline_at,
        strftime('%%Y-%%m-%%d %%H:%%M:%%f000', %(now)s, (min(timeout, 31557600000000000) / 1000000.0) || ' seconds')
    )
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND queue_name = %(queue_name)s
      AND priority = %(priority)s
      AND queue_sequence >= %(above)s
      AND name IN (SELECT value FROM json_each(%(names)s))
      AND recovery_attempts < 3
    ORDER BY queue_sequence
    LIMIT %(limit)s
)
  AND EXISTS (
      SELECT 1
      FROM dbos_executor
      WHERE executor_id = %(executor_id)s AND heartbeat_at > '0001-01-01 00:00:00.000000'
  )
RETURNING
    -- columns: claim,
    (julianday(deadline_at) - julianday(%(now)s)) * 86400.0 AS remaining,
    claim_number > 1 AS has_history, queue_sequence
