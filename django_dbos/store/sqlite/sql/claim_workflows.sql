-- Claim the next workflows of a lane, from a queue position on. That position may have more
-- workflows, since all that one statement enqueues share it.
UPDATE dbos_workflow
-- include: take_claim
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND queue_name = %(queue_name)s
      AND partition_key = ''
      AND priority = %(priority)s
      AND queue_sequence >= %(above)s
      -- include: is_known
      AND recovery_attempts < 3
      -- include: not_managed
    ORDER BY queue_sequence
    LIMIT %(limit)s
)
  -- include: live_executor
-- include: return_claim
