-- Delete a part of the rows that workflows marked for deletion still have. Workers share the work.
DELETE FROM dbos_message
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM dbos_message
    WHERE workflow_id = ANY(%(workflow_ids)s::text[])
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING 1
