-- The columns of a schedule. Casts: Django reads columns of instants as local ones.
schedule.name, schedule.workflow_name, schedule.declared, schedule.edited,
CAST(schedule.settled_at AS TEXT), CAST(schedule.next_at AS TEXT), CAST(schedule.last_at AS TEXT),
schedule.last_workflow_id, CAST(schedule.failures_after AS TEXT),
CAST(schedule.paused_at AS TEXT), schedule.paused_by, schedule.paused_reason, schedule.tzdata
