-- One row a key: the caller has reduced them to the last.
INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
SELECT event.workflow_id, event.key, event.value, event.version, clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(key)s::text[], %(value)s::text[], %(version)s::int[]
) AS event (workflow_id, key, value, version)
ON CONFLICT (workflow_id, key) DO UPDATE
SET value = excluded.value, version = excluded.version, updated_at = excluded.updated_at
