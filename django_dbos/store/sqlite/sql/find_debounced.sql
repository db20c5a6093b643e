-- Return the delayed workflows of these debounce keys.
SELECT workflow.name, workflow.debounce_key, workflow.workflow_id, workflow.user_id
FROM json_each(%(rows)s) AS wanted
CROSS JOIN dbos_workflow AS workflow
  ON workflow.name = json_extract(wanted.value, '$[0]')
 AND workflow.debounce_key = json_extract(wanted.value, '$[1]')
WHERE workflow.debounce_key IS NOT NULL AND workflow.status = 'DELAYED'
