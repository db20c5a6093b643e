-- Change the place of a run in the limits of its queue, which lends it or has lent it: see
-- core.queues. A row that an open transaction has locked is left alone.
UPDATE dbos_workflow
SET place = %(place)s
WHERE workflow_id = (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND claim_number = %(claim_number)s
      AND place IN (-1, 1, 3)
      -- include: held_here
    FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING queue_name
