-- Return the events of a workflow whose values before a step are gone: a past run set them, and this
-- run has replaced them.
SELECT later.key
FROM dbos_event_version AS later
WHERE later.workflow_id = %(workflow_id)s
GROUP BY later.key
HAVING min(later.step_number) >= %(step_number)s AND min(later.version) > 1
ORDER BY later.key
LIMIT 1
