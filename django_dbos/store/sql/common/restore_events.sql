-- Give the events of a workflow the latest of the values that are left.
UPDATE dbos_event
SET value = latest.value, version = latest.version, updated_at = latest.created_at
FROM dbos_event_version AS latest
WHERE dbos_event.workflow_id = %(workflow_id)s
  AND latest.workflow_id = %(workflow_id)s
  AND latest.key = dbos_event.key
  AND latest.version = (
      SELECT max(one.version)
      FROM dbos_event_version AS one
      WHERE one.workflow_id = %(workflow_id)s AND one.key = dbos_event.key
  )
  AND latest.version <> dbos_event.version
