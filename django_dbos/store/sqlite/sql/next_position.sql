-- Return the queue position that deal_positions would deal next.
SELECT coalesce(
    (SELECT value FROM dbos_sequence WHERE name = 'queue'),
    (SELECT max(queue_sequence) FROM dbos_workflow),
    0
) + 1
