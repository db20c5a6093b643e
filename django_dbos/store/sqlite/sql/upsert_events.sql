INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
VALUES (%(workflow_id)s, %(key)s, %(value)s, %(version)s, %(now)s)
ON CONFLICT (workflow_id, key) DO UPDATE
SET value = excluded.value, version = excluded.version, updated_at = excluded.updated_at
