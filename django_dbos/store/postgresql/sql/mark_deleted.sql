-- Mark workflows for deletion that are still as a rule has chosen them. Several statements then
-- delete them, and no one may resume them. Marks that a dead worker left are found again. An array:
-- see claim_workflows.
UPDATE dbos_workflow
SET finished_at = '-infinity'
WHERE workflow_id = ANY(ARRAY(
    SELECT old.workflow_id
    FROM unnest(
        %(workflow_ids)s::text[], %(tokens)s::uuid[], %(claim_numbers)s::int[]
    ) AS chosen (workflow_id, token, claim_number)
    -- Looked up one by one, whatever the statistics are.
    CROSS JOIN LATERAL (
        SELECT workflow_id
        FROM dbos_workflow AS old
        WHERE workflow_id = chosen.workflow_id
          AND token = chosen.token
          AND claim_number = chosen.claim_number
          AND
            -- include: may_be_deleted
        FOR UPDATE SKIP LOCKED
    ) AS old
))
RETURNING workflow_id, token
