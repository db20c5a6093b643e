-- Give claims back to their queues, uncounted. Of workflows whose functions still run, the heir
-- keeps the places.
UPDATE dbos_workflow AS workflow
SET status = 'ENQUEUED',
    -- include: raise_claim_number
    place = CASE
        WHEN place = 2 OR place = 1 AND workflow_id IN (SELECT value FROM json_each(%(still_running)s))
        THEN place
        ELSE 0
    END,
    executor_id = CASE
        WHEN place IN (1, 2) AND workflow_id IN (SELECT value FROM json_each(%(still_running)s))
        THEN %(heir)s
    END,
    -- include: queue_again
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  -- include: held_here
RETURNING
    workflow_id,
    -- include: lane
