-- Set the latest values of events: one row a key, to which the caller has reduced them.
INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
SELECT event.workflow_id, event.key, event.value, event.version, clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(key)s::text[], %(value)s::text[], %(version)s::int[]
) AS event (workflow_id, key, value, version)
-- include: replace_event
