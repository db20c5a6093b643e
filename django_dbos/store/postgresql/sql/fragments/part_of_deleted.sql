-- A part of the rows of workflows that are marked for deletion.
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
