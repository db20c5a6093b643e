-- Delete what workflows waited for whose wait is over.
DELETE FROM dbos_wake
WHERE workflow_id = ANY(%(workflow_id)s::text[])
