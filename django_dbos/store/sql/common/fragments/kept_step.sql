-- The step belongs to the part of the history that the fork has got.
EXISTS (
    SELECT 1
    FROM dbos_checkpoint AS kept
    WHERE kept.workflow_id = %(workflow_id)s AND kept.step_number = original.step_number
)
