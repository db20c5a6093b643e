-- Return workflows that are awaited, sent to, or about to be started.
SELECT
    workflow_id,
    -- columns: found_workflow
FROM dbos_workflow
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
