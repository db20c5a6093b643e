-- Return the delayed workflows of these debounce keys.
SELECT workflow.name, workflow.debounce_key, workflow.workflow_id, workflow.user_id
FROM unnest(%(names)s::text[], %(keys)s::text[]) AS wanted (name, debounce_key)
JOIN dbos_workflow AS workflow
  ON workflow.name = wanted.name
 AND workflow.debounce_key = wanted.debounce_key
WHERE workflow.debounce_key IS NOT NULL AND workflow.status = 'DELAYED'
