-- Return a workflow's status, and entries of one of its streams from an offset on. Both are as of
-- one moment, so that a reader of an ended workflow sees all that it wrote. Values come up to the
-- page's size in bytes; the size of a value is known without reading it.
SELECT
    workflow.status, workflow.token, entry."offset",
    CASE WHEN entry.bytes_before < %(max_bytes)s THEN entry.value END AS value,
    entry.is_end, entry.bytes_before >= %(max_bytes)s AS is_left_out
FROM dbos_workflow AS workflow
LEFT JOIN (
    SELECT
        "offset", value, is_end,
        coalesce(sum(octet_length(value)) OVER (
            ORDER BY "offset" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS bytes_before
    FROM (
        SELECT "offset", value, is_end
        FROM dbos_stream_entry
        WHERE workflow_id = %(workflow_id)s AND key = %(key)s AND "offset" >= %(offset)s
        ORDER BY "offset"
        LIMIT %(limit)s
    ) AS found
) AS entry ON TRUE
WHERE workflow.workflow_id = %(workflow_id)s
ORDER BY entry."offset"
