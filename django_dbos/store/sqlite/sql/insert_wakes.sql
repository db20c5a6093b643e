-- Store the things that suspended workflows wait for, if any of several ends the wait. Rows of an
-- earlier wait, which count no longer, are replaced.
INSERT INTO dbos_wake (
    workflow_id, part, claim_number, wake_kind, wake_workflow_id, wake_name, wake_offset
)
VALUES (
    %(workflow_id)s, %(part)s, %(claim_number)s, %(kind)s, %(target_id)s, %(name)s, %(offset)s
)
ON CONFLICT (workflow_id, part) DO UPDATE
SET claim_number = excluded.claim_number,
    wake_kind = excluded.wake_kind,
    wake_workflow_id = excluded.wake_workflow_id,
    wake_name = excluded.wake_name,
    wake_offset = excluded.wake_offset
