-- Lock the row of a managed queue, without waiting for it. The setting, which ends with the
-- transaction, shows the next statements that they may claim: they count what the lock's former
-- holders have committed. Claims that were under way when the queue became managed get places.
WITH locked AS MATERIALIZED (
    SELECT
        name,
        CASE WHEN hold_while_waiting THEN 2 ELSE 1 END AS place,
        updated_at > clock_timestamp() - interval '1 minute' AS is_new
    FROM dbos_queue
    WHERE name = %(queue_name)s AND is_managed
    FOR NO KEY UPDATE SKIP LOCKED
),
running AS (
    UPDATE dbos_workflow
    SET place = (SELECT place FROM locked)
    WHERE workflow_id = ANY(ARRAY(
        SELECT workflow_id
        FROM dbos_workflow
        WHERE (SELECT is_new FROM locked)
          AND status = 'PENDING'
          AND executor_id IS NOT NULL
          AND queue_name = %(queue_name)s
          AND place = 0
        FOR UPDATE SKIP LOCKED
    ))
)
SELECT
    set_config('dbos.locked_queue', coalesce((SELECT name FROM locked), ''), true),
    -- To plan the claim takes longer than to execute it; the plan is the same for all values.
    set_config('plan_cache_mode', 'force_generic_plan', true),
    current_setting('transaction_isolation')
