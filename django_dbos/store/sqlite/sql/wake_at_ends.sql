-- Enqueue workflows that wait for others that have ended. With a workflow all its streams end; with a
-- quarantined one, whose kind is 'stream', only these.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id IN (
    -- The sign +: one look-up by the id, not one for each kind.
    SELECT waiting.workflow_id
    FROM json_each(%(workflow_ids)s) AS ended
    CROSS JOIN dbos_workflow AS waiting ON waiting.wake_workflow_id = ended.value
    WHERE +waiting.wake_kind IN (%(kind)s, 'stream')
      AND waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
    UNION ALL
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM json_each(%(workflow_ids)s) AS ended
    CROSS JOIN dbos_wake AS waiting
      ON waiting.wake_workflow_id = ended.value
     AND waiting.wake_kind IN (%(kind)s, 'stream')
    -- include: holder_of_wakes
)
RETURNING
    -- include: lane
