-- The awaited workflow is gone: an event or a result won't come. Of several things that are awaited the
-- others may come, so this is for a wait for one thing.
waiting.wake_kind IN ('event', 'result') AND NOT EXISTS (
    SELECT 1
    FROM dbos_workflow AS target
    WHERE target.workflow_id = waiting.wake_workflow_id
)
