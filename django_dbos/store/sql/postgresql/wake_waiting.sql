-- Re-enqueues workflows that wait for what is there now. The data was committed before.
UPDATE dbos_workflow AS workflow
SET status = 'ENQUEUED',
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
FROM (
    SELECT waiting.workflow_id
    FROM unnest(%(kinds)s::text[], %(target_ids)s::text[], %(names)s::text[])
        AS there (kind, target_id, name)
    JOIN dbos_workflow AS waiting
      ON waiting.wake_workflow_id = there.target_id
     AND waiting.wake_kind = there.kind
     AND waiting.wake_name = there.name
    WHERE waiting.status = 'WAITING' AND waiting.wake_workflow_id IS NOT NULL
    FOR UPDATE OF waiting SKIP LOCKED
) AS woken
WHERE workflow.workflow_id = woken.workflow_id
RETURNING workflow.queue_name, workflow.priority
