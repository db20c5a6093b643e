-- Return workflows that are awaited, sent to, or about to be started.
SELECT
    workflow_id,
    -- columns: found_workflow
FROM dbos_workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
