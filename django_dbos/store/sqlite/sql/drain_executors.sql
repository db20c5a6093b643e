-- Ask live executors to claim nothing more, and to end when their runs have.
UPDATE dbos_executor
SET drain_requested_at = coalesce(drain_requested_at, %(now)s)
WHERE executor_id IN (SELECT value FROM json_each(%(executor_ids)s))
  AND NOT is_inline
  AND heartbeat_at > '0001-01-01 00:00:00.000000'
RETURNING executor_id
