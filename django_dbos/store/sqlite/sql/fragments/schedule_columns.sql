-- The columns of a schedule.
schedule.name, schedule.workflow_name, schedule.declared, schedule.edited, schedule.settled_at,
schedule.next_at, schedule.last_at, schedule.last_workflow_id, schedule.failures_after,
schedule.paused_at, schedule.paused_by, schedule.paused_reason, schedule.tzdata
