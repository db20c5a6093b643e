-- Return the unfinished children that a step has started, in the order of their items, each with the
-- one that it is held behind: a child that was never claimed waits for nothing else.
SELECT
    workflow_id,
    CASE
        WHEN status = 'WAITING' AND claim_number = 0 AND wake_kind = 'result'
            THEN wake_workflow_id
    END AS held_behind
FROM dbos_workflow
WHERE parent_id = %(parent_id)s
  AND parent_step_number = %(step_number)s
  AND (finished_at IS NULL OR is_quarantined)
ORDER BY queue_sequence
