-- Delete the forms and callbacks of the runs before the one that ends: what the run that ends has
-- asked stays until its successor ends. A callback that can still be called stays, too.
DELETE FROM dbos_inquiry
WHERE workflow_id = %(workflow_id)s
  AND step_number <= (SELECT steps_before FROM dbos_workflow WHERE workflow_id = %(workflow_id)s)
  AND (
      kind = 'form'
      OR answered_at IS NOT NULL
      OR closed_at IS NOT NULL
      OR expires_at <= %(now)s
  )
