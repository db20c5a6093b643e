-- Give a fork the latest of its values of each event, and those of past runs that this run of the
-- original hasn't replaced.
INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
SELECT %(workflow_id)s, latest.key, latest.value, latest.version, latest.created_at
FROM dbos_event_version AS latest
WHERE latest.workflow_id = %(workflow_id)s
  AND latest.version = (
      SELECT max(one.version)
      FROM dbos_event_version AS one
      WHERE one.workflow_id = %(workflow_id)s AND one.key = latest.key
  )
UNION ALL
SELECT %(workflow_id)s, past.key, past.value, past.version, past.updated_at
FROM dbos_event AS past
WHERE past.workflow_id = %(source_id)s
  AND NOT EXISTS (
      SELECT 1
      FROM dbos_event_version AS one
      WHERE one.workflow_id = %(source_id)s AND one.key = past.key
  )
