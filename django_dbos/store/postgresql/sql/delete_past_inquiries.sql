-- Delete the forms and callbacks of the runs before those that end: what the runs that end have
-- asked stays until their successors end. A callback that can still be called stays, too. One whose
-- row a transaction of a caller has locked is deleted by a later run.
DELETE FROM dbos_inquiry
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM dbos_inquiry AS inquiry
    WHERE workflow_id = ANY(%(workflow_id)s::text[])
      AND step_number <= (
          SELECT steps_before
          FROM dbos_workflow AS workflow
          WHERE workflow.workflow_id = inquiry.workflow_id
      )
      AND (
          kind = 'form'
          OR answered_at IS NOT NULL
          OR closed_at IS NOT NULL
          OR expires_at <= (SELECT clock_timestamp())
      )
    FOR UPDATE OF inquiry SKIP LOCKED
))
