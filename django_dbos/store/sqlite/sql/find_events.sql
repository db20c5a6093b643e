-- Return the latest values and versions of events; NULL for one that its workflow hasn't set. Of a
-- workflow that doesn't exist there is no row.
SELECT target.workflow_id, json_extract(wanted.value, '$[1]'), event.value, event.version
FROM json_each(%(rows)s) AS wanted
CROSS JOIN dbos_workflow AS target
  ON target.workflow_id = json_extract(wanted.value, '$[0]')
LEFT JOIN dbos_event AS event
  ON event.workflow_id = target.workflow_id
 AND event.key = json_extract(wanted.value, '$[1]')
