-- Set the latest values of events: one row a key, to which the caller has reduced them.
INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
VALUES (%(workflow_id)s, %(key)s, %(value)s, %(version)s, %(now)s)
-- include: replace_event
