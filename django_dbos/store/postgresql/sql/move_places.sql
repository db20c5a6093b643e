-- Let places linger with another executor of the same process: its heir.
UPDATE dbos_workflow
SET executor_id = %(heir)s
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = ANY(%(workflow_ids)s::text[])
      AND coalesce(status <> 'PENDING' AND place > 0 AND executor_id = %(executor_id)s, false)
    FOR UPDATE SKIP LOCKED
))
