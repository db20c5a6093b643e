-- A part of the rows of workflows that are marked for deletion.
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
LIMIT %(limit)s
