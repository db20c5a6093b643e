-- Return the limits of a managed queue.
SELECT
    -- columns: limits,
    paused_at IS NOT NULL AS is_paused
FROM dbos_queue
WHERE name = %(queue_name)s AND is_managed
