-- Delete a part of the rows that workflows marked for deletion still have. Workers share the work.
DELETE FROM dbos_inquiry
WHERE rowid IN (
    SELECT rowid
    FROM dbos_inquiry
    -- include: part_of_deleted
)
RETURNING 1
