-- Write schedules that this transaction has locked.
UPDATE dbos_schedule AS schedule
SET workflow_name = new.workflow_name,
    declared = new.declared::jsonb,
    edited = new.edited::jsonb,
    settled_at = new.settled_at::timestamp AT TIME ZONE 'UTC',
    next_at = new.next_at::timestamp AT TIME ZONE 'UTC',
    last_at = new.last_at::timestamp AT TIME ZONE 'UTC',
    last_workflow_id = new.last_workflow_id,
    failures_after = new.failures_after::timestamp AT TIME ZONE 'UTC',
    paused_at = new.paused_at::timestamp AT TIME ZONE 'UTC',
    paused_by = new.paused_by,
    paused_reason = new.paused_reason,
    tzdata = new.tzdata,
    updated_at = clock_timestamp()
FROM unnest(
    %(name)s::text[], %(workflow_name)s::text[], %(declared)s::text[], %(edited)s::text[],
    %(settled_at)s::text[], %(next_at)s::text[], %(last_at)s::text[],
    %(last_workflow_id)s::text[], %(failures_after)s::text[], %(paused_at)s::text[],
    %(paused_by)s::text[], %(paused_reason)s::text[], %(tzdata)s::text[]
) AS new (
    name, workflow_name, declared, edited, settled_at, next_at, last_at, last_workflow_id,
    failures_after, paused_at, paused_by, paused_reason, tzdata
)
WHERE schedule.name = new.name
