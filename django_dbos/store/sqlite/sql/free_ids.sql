-- Free the deduplication ids of workflows that have ended, whatever time they were to be kept for.
UPDATE dbos_workflow
SET unique_until = NULL
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s)) AND unique_until IS NOT NULL
