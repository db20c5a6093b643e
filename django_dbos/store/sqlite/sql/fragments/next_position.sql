-- The queue position that deal_positions would deal next. SQLite reads it for the first row only,
-- and not at all if there is none.
SELECT coalesce(
    (SELECT value FROM dbos_sequence WHERE name = 'queue'),
    (SELECT max(queue_sequence) FROM dbos_workflow),
    0
) + 1
