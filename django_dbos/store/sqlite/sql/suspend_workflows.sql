-- Suspend workflows until their waits are over. The wait's own checkpoint has the due time; it is
-- older than the suspension. A wait for a key has none.
UPDATE dbos_workflow
SET status = 'WAITING',
    wake_kind = %(kind)s,
    wake_workflow_id = nullif(%(target_id)s, ''),
    wake_name = %(name)s,
    wake_offset = %(offset)s,
    due_at = (
        SELECT deadline_at
        FROM dbos_checkpoint
        WHERE workflow_id = %(workflow_id)s AND step_number = %(step_number)s
    ),
    -- include: give_back_place
    claim_number = claim_number + 1
WHERE workflow_id = %(workflow_id)s
