-- A key has one row: its latest value.
ON CONFLICT (workflow_id, key) DO UPDATE
SET value = excluded.value, version = excluded.version, updated_at = excluded.updated_at
