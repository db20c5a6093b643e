-- Give claims back to their queues, uncounted. Of workflows whose functions still run, the heir
-- keeps the places. Rows that an open transaction has locked are left out, as in recover_workflows.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: raise_claim_number
    place = CASE
        WHEN place = 2 OR place = 1 AND workflow_id = ANY(%(still_running)s::text[])
        THEN place
        ELSE 0
    END,
    executor_id = CASE
        WHEN place IN (1, 2) AND workflow_id = ANY(%(still_running)s::text[]) THEN %(heir)s
    END,
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = ANY(%(workflow_ids)s::text[])
      -- include: held_here
    ORDER BY workflow_id
    FOR UPDATE SKIP LOCKED
))
RETURNING
    workflow_id,
    -- include: lane
