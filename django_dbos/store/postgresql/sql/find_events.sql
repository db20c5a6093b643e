-- Return the latest values and versions of events; NULL for one that its workflow hasn't set. Of a
-- workflow that doesn't exist there is no row. OFFSET 0: see find_unfinished.
SELECT target.workflow_id, wanted.key, event.value, event.version
FROM unnest(%(workflow_ids)s::text[], %(keys)s::text[]) AS wanted (workflow_id, key)
CROSS JOIN LATERAL (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = wanted.workflow_id
    OFFSET 0
) AS target
LEFT JOIN LATERAL (
    SELECT value, version
    FROM dbos_event
    WHERE workflow_id = wanted.workflow_id AND key = wanted.key
    OFFSET 0
) AS event ON true
