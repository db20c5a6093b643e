-- Claim one suspect: a workflow whose executors died again and again while they ran it.
WITH executor AS MATERIALIZED (
    -- include: live_executor
),
chosen AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND recovery_attempts >= 3
      AND queue_name = ANY(%(queue_names)s::text[])
      -- include: is_known
      AND EXISTS (SELECT FROM executor)
      -- include: not_managed
    ORDER BY queue_sequence
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE dbos_workflow AS workflow
-- include: take_claim
WHERE workflow.workflow_id = ANY(ARRAY(SELECT workflow_id FROM chosen))
-- include: return_claim
