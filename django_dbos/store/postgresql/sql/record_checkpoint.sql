-- Record one step; record_checkpoints records many. Without arrays that takes two thirds of the
-- time.
WITH held AS MATERIALIZED (
    -- include: held_workflow
    FOR SHARE SKIP LOCKED
)
-- include: into_checkpoints_of_steps
SELECT
    held.workflow_id, %(step_number)s, %(step_name)s, 0, %(fingerprint)s, %(output)s, %(error)s,
    %(related_workflow_id)s, %(record_order)s, %(claim_number)s, %(attempts)s,
    clock_timestamp() - make_interval(secs => %(duration)s), clock_timestamp()
FROM held
ON CONFLICT DO NOTHING
RETURNING workflow_id, step_number
