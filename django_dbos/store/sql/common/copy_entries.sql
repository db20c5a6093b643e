-- Give a fork the stream entries of the steps that it has got, and of past runs. Concurrent branches
-- may have written others in between: the offsets have no gaps all the same.
INSERT INTO dbos_stream_entry (
    workflow_id, key, "offset", value, is_end, step_number, write_id, created_at
)
SELECT
    %(workflow_id)s, key, row_number() OVER (PARTITION BY key ORDER BY "offset") - 1, value,
    is_end, step_number, write_id, created_at
FROM dbos_stream_entry AS original
WHERE original.workflow_id = %(source_id)s
  AND (
      original.step_number <= %(steps_before)s
      OR
      -- include: kept_step
  )
