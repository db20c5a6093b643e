-- Enqueue workflows that differ only in their ids and inputs. The ids are new: no row can stand in
-- the way, and each id serves as the token, too.
INSERT INTO dbos_workflow (
    workflow_id, token, name, version, status, queue_name, priority, queue_sequence, partition_key, input,
    user_id, attributes, traceparent, claim_number, max_recovery_attempts, due_at, timeout, created_at
)
SELECT
    new.workflow_id, new.workflow_id::uuid, %(name)s::text, %(version)s::text,
    CASE WHEN due.at > clock_timestamp() THEN 'DELAYED' ELSE 'ENQUEUED' END,
    %(queue_name)s::text, %(priority)s::int, nextval('dbos_queue_sequence'),
    %(partition_key)s::text, new.input,
    %(user_id)s::text, %(attributes)s::jsonb, %(traceparent)s::text, 0, %(max_recovery_attempts)s::int,
    CASE WHEN due.at > clock_timestamp() THEN due.at END,
    %(timeout)s::interval, clock_timestamp()
FROM unnest(%(ids)s::text[], %(inputs)s::text[])
    WITH ORDINALITY AS new (workflow_id, input, position)
CROSS JOIN (
    SELECT coalesce(
        %(run_at)s::timestamptz, clock_timestamp() + make_interval(secs => %(delay)s::float8)
    ) AS at
) AS due
ORDER BY new.position
