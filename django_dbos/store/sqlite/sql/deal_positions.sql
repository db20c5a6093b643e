-- Deal queue positions, and return the last of them.
INSERT INTO dbos_sequence (name, value)
VALUES (
    'queue',
    (SELECT coalesce(max(queue_sequence), 0) FROM dbos_workflow) + %(count)s
)
ON CONFLICT (name) DO UPDATE SET value = dbos_sequence.value + %(count)s
RETURNING value
