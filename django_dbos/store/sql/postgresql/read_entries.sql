-- The status of a workflow, and entries of one of its streams from an offset on: both as of one
-- moment, so that of a workflow that has ended everything is seen that it wrote.
SELECT workflow.status, entry."offset", entry.value, entry.is_end
FROM dbos_workflow AS workflow
LEFT JOIN (
    SELECT "offset", value, is_end
    FROM dbos_stream_entry
    WHERE workflow_id = %(workflow_id)s AND key = %(key)s AND "offset" >= %(offset)s
    ORDER BY "offset"
    LIMIT %(limit)s
) AS entry ON TRUE
WHERE workflow.workflow_id = %(workflow_id)s
ORDER BY entry."offset"
