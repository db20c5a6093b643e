-- Return the latest values and versions of events.
SELECT event.workflow_id, event.key, event.value, event.version
FROM unnest(%(workflow_ids)s::text[], %(keys)s::text[]) AS wanted (workflow_id, key)
JOIN dbos_event AS event ON event.workflow_id = wanted.workflow_id AND event.key = wanted.key
