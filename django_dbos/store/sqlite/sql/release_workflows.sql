-- Give claims back to their queues, uncounted.
UPDATE dbos_workflow AS workflow
SET status = 'ENQUEUED',
    -- include: give_up_claim
    queue_sequence = (
        -- include: next_position
    )
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  -- include: held_here
RETURNING
    workflow_id,
    -- include: lane
