-- Change when a delayed workflow is due.
UPDATE dbos_workflow
SET due_at = coalesce(
    %(run_at)s::timestamptz, clock_timestamp() + make_interval(secs => %(delay)s::float8)
)
WHERE workflow_id = %(workflow_id)s AND status = 'DELAYED'
RETURNING workflow_id
