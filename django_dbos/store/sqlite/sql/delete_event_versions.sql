-- Delete a part of the rows that workflows marked for deletion still have. Workers share the work.
DELETE FROM dbos_event_version
WHERE rowid IN (
    SELECT rowid
    FROM dbos_event_version
    WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
    LIMIT %(limit)s
)
RETURNING 1
