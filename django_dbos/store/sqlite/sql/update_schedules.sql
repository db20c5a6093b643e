-- Write a schedule, in the transaction that has read it.
UPDATE dbos_schedule
SET workflow_name = %(workflow_name)s,
    declared = %(declared)s,
    edited = %(edited)s,
    settled_at = %(settled_at)s,
    next_at = %(next_at)s,
    last_at = %(last_at)s,
    last_workflow_id = %(last_workflow_id)s,
    failures_after = %(failures_after)s,
    paused_at = %(paused_at)s,
    paused_by = %(paused_by)s,
    paused_reason = %(paused_reason)s,
    tzdata = %(tzdata)s,
    updated_at = %(now)s
WHERE name = %(name)s
