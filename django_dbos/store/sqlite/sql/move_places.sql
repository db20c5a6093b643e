-- Let places linger with another executor of the same process: its heir.
UPDATE dbos_workflow
SET executor_id = %(heir)s
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status <> 'PENDING'
  AND place > 0
  AND executor_id = %(executor_id)s
