-- Mark workflows for deletion that are still as a rule has chosen them. Several statements then
-- delete them, and no one may resume them. Marks that a dead worker left are found again.
UPDATE dbos_workflow
SET finished_at = '0001-01-01 00:00:00.000000'
WHERE workflow_id IN (
    SELECT old.workflow_id
    FROM json_each(%(chosen)s) AS chosen
    JOIN dbos_workflow AS old
      ON old.workflow_id = chosen.value ->> 0
      AND old.token = chosen.value ->> 1
      AND old.claim_number = chosen.value ->> 2
    WHERE
        -- include: may_be_deleted
)
RETURNING workflow_id, token
