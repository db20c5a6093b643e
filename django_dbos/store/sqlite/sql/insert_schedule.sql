-- Insert a schedule, unless there is one of its name.
INSERT INTO dbos_schedule (
    name, workflow_name, declared, edited, settled_at, next_at, last_at, last_workflow_id,
    failures_after, paused_at, paused_by, paused_reason, tzdata, updated_at
)
VALUES (
    %(name)s, %(workflow_name)s, %(declared)s, %(edited)s, %(settled_at)s, %(next_at)s,
    %(last_at)s, %(last_workflow_id)s, %(failures_after)s, %(paused_at)s, %(paused_by)s,
    %(paused_reason)s, %(tzdata)s, %(now)s
)
ON CONFLICT DO NOTHING
RETURNING name
