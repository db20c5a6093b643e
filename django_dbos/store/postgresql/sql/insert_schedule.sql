-- Insert a schedule, unless there is one of its name.
INSERT INTO dbos_schedule (
    name, workflow_name, declared, edited, settled_at, next_at, last_at, last_workflow_id,
    failures_after, paused_at, paused_by, paused_reason, tzdata, updated_at
)
VALUES (
    %(name)s, %(workflow_name)s, %(declared)s::jsonb, %(edited)s::jsonb,
    %(settled_at)s::timestamp AT TIME ZONE 'UTC', %(next_at)s::timestamp AT TIME ZONE 'UTC',
    %(last_at)s::timestamp AT TIME ZONE 'UTC', %(last_workflow_id)s,
    %(failures_after)s::timestamp AT TIME ZONE 'UTC', %(paused_at)s::timestamp AT TIME ZONE 'UTC',
    %(paused_by)s, %(paused_reason)s, %(tzdata)s, clock_timestamp()
)
ON CONFLICT DO NOTHING
RETURNING name
