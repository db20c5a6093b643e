-- Give a fork the values of events that the steps which it has got have set.
INSERT INTO dbos_event_version (
    workflow_id, key, version, value, step_number, write_id, created_at
)
SELECT %(workflow_id)s, key, version, value, step_number, write_id, created_at
FROM dbos_event_version AS original
WHERE original.workflow_id = %(source_id)s
  AND
  -- include: kept_step
