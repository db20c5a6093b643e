-- Return a workflow's status, and entries of one of its streams from an offset on. Both are as of
-- one moment, so that a reader of an ended workflow sees all that it wrote. Values come up to the
-- page's size in bytes; later entries aren't read, since offsets have no gaps.
WITH RECURSIVE page (position, bytes_before, bytes_after) AS (
    SELECT "offset", 0, coalesce(length(value), 0)
    FROM dbos_stream_entry
    WHERE workflow_id = %(workflow_id)s AND key = %(key)s AND "offset" = %(offset)s
    UNION ALL
    SELECT "offset", bytes_after, bytes_after + coalesce(length(value), 0)
    FROM page
    JOIN dbos_stream_entry
        ON workflow_id = %(workflow_id)s AND key = %(key)s AND "offset" = position + 1
    WHERE bytes_before < %(max_bytes)s AND position + 1 < %(offset)s + %(limit)s
)
SELECT
    workflow.status, workflow.token, entry."offset",
    CASE WHEN entry.bytes_before < %(max_bytes)s THEN entry.value END AS value,
    entry.is_end, entry.bytes_before >= %(max_bytes)s AS is_left_out
FROM dbos_workflow AS workflow
LEFT JOIN (
    SELECT "offset", value, is_end, bytes_before
    FROM page
    JOIN dbos_stream_entry
        ON workflow_id = %(workflow_id)s AND key = %(key)s AND "offset" = position
) AS entry ON TRUE
WHERE workflow.workflow_id = %(workflow_id)s
ORDER BY entry."offset"
