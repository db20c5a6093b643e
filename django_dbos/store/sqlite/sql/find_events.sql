-- Return the latest values and versions of events.
SELECT event.workflow_id, event.key, event.value, event.version
FROM json_each(%(rows)s) AS wanted
CROSS JOIN dbos_event AS event
  ON event.workflow_id = json_extract(wanted.value, '$[0]')
 AND event.key = json_extract(wanted.value, '$[1]')
