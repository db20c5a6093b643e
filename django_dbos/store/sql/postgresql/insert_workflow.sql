-- Enqueues one workflow, as insert_workflows does, for starts one at a time: planned at each
-- call, which takes a third of the time that the plan for any number takes.
INSERT INTO dbos_workflow (
    workflow_id, token, name, status, queue_name, priority, queue_sequence, deduplication_id,
    input, user_id, attributes, claim_number, max_recovery_attempts, due_at, timeout, created_at
)
SELECT
    %(workflow_id)s, %(token)s, %(name)s,
    CASE WHEN due.at > clock_timestamp() THEN 'DELAYED' ELSE 'ENQUEUED' END,
    %(queue_name)s, %(priority)s, nextval('dbos_queue_sequence'), %(deduplication_id)s,
    %(input)s, %(user_id)s, %(attributes)s::jsonb, 0, %(max_recovery_attempts)s,
    CASE WHEN due.at > clock_timestamp() THEN due.at END,
    %(timeout)s, clock_timestamp()
FROM (
    SELECT coalesce(
        %(run_at)s::timestamptz, clock_timestamp() + make_interval(secs => %(delay)s)
    ) AS at
) AS due
ON CONFLICT DO NOTHING
RETURNING workflow_id
