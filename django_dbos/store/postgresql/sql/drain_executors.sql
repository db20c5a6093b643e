-- Ask live executors to claim nothing more, and to end when their runs have.
UPDATE dbos_executor
SET drain_requested_at = coalesce(drain_requested_at, clock_timestamp())
WHERE executor_id = ANY(%(executor_ids)s::text[])
  AND NOT is_inline
  AND heartbeat_at > '-infinity'
RETURNING executor_id
