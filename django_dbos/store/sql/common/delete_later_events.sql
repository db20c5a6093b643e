-- Delete the events of a workflow that only its steps from one on have set.
DELETE FROM dbos_event
WHERE workflow_id = %(workflow_id)s
  AND EXISTS (
      SELECT 1
      FROM dbos_event_version AS later
      WHERE later.workflow_id = %(workflow_id)s
        AND later.key = dbos_event.key
        AND later.step_number >= %(step_number)s
  )
  AND NOT EXISTS (
      SELECT 1
      FROM dbos_event_version AS earlier
      WHERE earlier.workflow_id = %(workflow_id)s
        AND earlier.key = dbos_event.key
        AND earlier.step_number < %(step_number)s
  )
RETURNING key
