-- Delete workflows that are marked for deletion, with rows that they got after their parts were
-- deleted.
WITH gone AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = ANY(%(workflow_ids)s::text[]) AND finished_at = '-infinity'
    FOR UPDATE SKIP LOCKED
),
-- include: delete_gone
