-- Delete a part of the rows that workflows marked for deletion still have. Workers share the work.
DELETE FROM dbos_inquiry
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM dbos_inquiry
    -- include: part_of_deleted
))
RETURNING 1
