-- Change the place of a run in the limits of its queue, which lends it or has lent it: see
-- core.queues.
UPDATE dbos_workflow AS workflow
SET place = %(place)s
WHERE workflow_id = %(workflow_id)s
  AND claim_number = %(claim_number)s
  AND place IN (-1, 1, 3)
  -- include: held_here
RETURNING queue_name
