-- Return, for each wanted page of a stream, its workflow's status, the stream's last entry, and the
-- entries from an offset on. All are as of one moment, so that a reader of an ended workflow sees
-- all that it wrote. Values come up to a size in bytes, which all pages share: the size of a value
-- is known without reading it. OFFSET 0, since else the planner may hash whole tables.
SELECT
    position, status, token, last_offset, has_end, "offset",
    CASE WHEN bytes_before < %(max_bytes)s THEN value END AS value,
    is_end, bytes_before >= %(max_bytes)s AS is_left_out
FROM (
    SELECT
        wanted.position, workflow.status, workflow.token,
        tail."offset" AS last_offset, tail.is_end AS has_end,
        entry."offset", entry.value, entry.is_end,
        coalesce(sum(octet_length(entry.value)) OVER (
            ORDER BY wanted.position, entry."offset"
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS bytes_before
    FROM unnest(
        %(workflow_ids)s::text[], %(keys)s::text[], %(offsets)s::int[], %(limits)s::int[]
    ) WITH ORDINALITY AS wanted (workflow_id, key, first, size, position)
    CROSS JOIN LATERAL (
        SELECT status, token
        FROM dbos_workflow
        WHERE workflow_id = wanted.workflow_id
        OFFSET 0
    ) AS workflow
    LEFT JOIN LATERAL (
        SELECT "offset", is_end
        FROM dbos_stream_entry
        WHERE workflow_id = wanted.workflow_id AND key = wanted.key
        ORDER BY "offset" DESC
        LIMIT 1
    ) AS tail ON TRUE
    LEFT JOIN LATERAL (
        SELECT "offset", value, is_end
        FROM dbos_stream_entry
        WHERE workflow_id = wanted.workflow_id AND key = wanted.key
          AND "offset" >= wanted.first
        ORDER BY "offset"
        LIMIT wanted.size
    ) AS entry ON TRUE
) AS found
ORDER BY position, "offset"
