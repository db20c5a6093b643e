-- Give claims back to their queues, uncounted. Rows that an open transaction has locked are left
-- out, as in recover_workflows.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: give_up_claim
    queue_sequence = nextval('dbos_queue_sequence')
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
