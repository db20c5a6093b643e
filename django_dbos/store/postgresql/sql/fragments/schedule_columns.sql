-- The columns of a schedule. Instants are texts in UTC: the driver's may be local, and naive.
schedule.name, schedule.workflow_name, schedule.declared::text, schedule.edited::text,
to_char(schedule.settled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
to_char(schedule.next_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
to_char(schedule.last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
schedule.last_workflow_id,
to_char(schedule.failures_after AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
to_char(schedule.paused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
schedule.paused_by, schedule.paused_reason, schedule.tzdata
