-- Delete workflows that are marked for deletion.
DELETE FROM dbos_workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND finished_at = '0001-01-01 00:00:00.000000'
RETURNING workflow_id
