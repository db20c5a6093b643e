-- Record a heartbeat and report what is due: the one statement of an idle executor. It returns
-- nothing when the executor isn't registered; the lists are JSON. A text that is no time counts as
-- due at once: it must not hide later ones.
UPDATE dbos_executor
SET heartbeat_at = %(now)s
WHERE executor_id = %(executor_id)s AND heartbeat_at > '0001-01-01 00:00:00.000000'
RETURNING
    EXISTS (SELECT 1 FROM dbos_workflow WHERE status = 'ENQUEUED') AS has_enqueued,
    (
        SELECT (coalesce(julianday(due_at), 0) - julianday(%(now)s)) * 86400.0
        FROM dbos_workflow
        WHERE status IN ('DELAYED', 'WAITING') AND due_at IS NOT NULL
        ORDER BY due_at
        LIMIT 1
    ) AS next_due,
    (
        SELECT (coalesce(julianday(deadline_at), 0) - julianday(%(now)s)) * 86400.0
        FROM dbos_workflow
        WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING') AND deadline_at IS NOT NULL
        ORDER BY deadline_at
        LIMIT 1
    ) AS next_deadline,
    (
        SELECT (julianday(min(next_at)) - julianday(%(now)s)) * 86400.0
        FROM dbos_schedule
        WHERE next_at IS NOT NULL
    ) AS next_schedule,
    (
        SELECT count(*)
        FROM dbos_workflow
        WHERE status = 'PENDING' AND executor_id = %(executor_id)s
    ) + (
        SELECT count(*)
        FROM dbos_workflow
        WHERE status <> 'PENDING' AND place > 0 AND executor_id = %(executor_id)s
    ) AS held_count,
    -- Each with the seconds since its last heartbeat.
    (
        SELECT json_group_object(
            executor_id, (julianday(%(now)s) - julianday(heartbeat_at)) * 86400.0
        )
        FROM dbos_executor
        WHERE executor_id <> %(executor_id)s
          AND julianday(heartbeat_at) + lease / 86400000000.0 < julianday(%(now)s)
    ) AS expired_executors,
    (
        SELECT json_group_object(
            executor_id, (julianday(%(now)s) - julianday(heartbeat_at)) * 86400.0
        )
        FROM dbos_executor
        WHERE executor_id <> %(executor_id)s AND has_lock
    ) AS locking_executors,
    EXISTS (
        SELECT 1
        FROM dbos_workflow AS waiting
        WHERE waiting.status = 'WAITING'
          AND waiting.wake_workflow_id IS NOT NULL
          AND (
              true
              -- include: is_satisfied
              OR
              -- include: is_gone
          )
    ) OR EXISTS (
        SELECT 1
        FROM dbos_workflow AS holder
        CROSS JOIN dbos_wake AS waiting
          ON waiting.workflow_id = holder.workflow_id
         AND waiting.claim_number = holder.claim_number
        WHERE holder.status = 'WAITING'
          AND holder.wake_workflow_id IS NOT NULL
          AND holder.wake_kind = 'any'
          -- include: is_satisfied
    ) AS has_lost_wakeup,
    coalesce(drain_requested_at, '') <> '' AS must_drain
