-- Delete workflows with few rows that are still as a rule has chosen them, with all their rows. Those
-- with more rows in a table than the limit are left to several statements: see mark_deleted. One that
-- somebody resumes meanwhile is locked, or no longer finished.
WITH gone AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow AS old
    WHERE workflow_id = ANY(%(workflow_ids)s::text[])
      -- No join: with the statistics of an empty table, it would compare each with each.
      AND token || '/' || claim_number = ANY(%(claims)s::text[])
      AND
      -- include: may_be_deleted
      AND NOT EXISTS (
          SELECT
          FROM dbos_checkpoint AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
      AND NOT EXISTS (
          SELECT
          FROM dbos_message AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
      AND NOT EXISTS (
          SELECT
          FROM dbos_event AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
      AND NOT EXISTS (
          SELECT
          FROM dbos_event_version AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
      AND NOT EXISTS (
          SELECT
          FROM dbos_stream_entry AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
      AND NOT EXISTS (
          SELECT
          FROM dbos_past_run AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
      AND NOT EXISTS (
          SELECT
          FROM dbos_inquiry AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
      AND NOT EXISTS (
          SELECT
          FROM dbos_wake AS part
          WHERE part.workflow_id = old.workflow_id
          OFFSET %(rows_each)s::int
      )
    FOR UPDATE SKIP LOCKED
),
-- include: delete_gone
