-- Delete a part of the rows that workflows marked for deletion still have. Workers share the work.
DELETE FROM dbos_wake
WHERE rowid IN (
    SELECT rowid
    FROM dbos_wake
    -- include: part_of_deleted
)
RETURNING 1
