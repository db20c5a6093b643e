-- End workflows whose rows the fence has locked. One that is past its deadline still runs: its place
-- lingers, see keep_place.
UPDATE dbos_workflow
SET status = %(status)s,
    is_quarantined = %(is_quarantined)s,
    output = %(output)s,
    error = %(error)s,
    claim_number = claim_number + 1,
    place = CASE WHEN %(status)s = 'CANCELLED' AND place IN (1, 2) THEN place ELSE 0 END,
    executor_id = CASE WHEN %(status)s = 'CANCELLED' AND place IN (1, 2) THEN executor_id END,
    finished_at = %(now)s
WHERE workflow_id = %(workflow_id)s
