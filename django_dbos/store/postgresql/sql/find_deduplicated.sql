-- Return the workflows that hold these deduplication ids: active ones, and ended ones that keep
-- theirs for a while. OFFSET 0: see find_unfinished.
SELECT wanted.queue_name, wanted.deduplication_id, workflow.workflow_id, workflow.user_id
FROM unnest(%(queue_names)s::text[], %(deduplication_ids)s::text[])
    AS wanted (queue_name, deduplication_id)
CROSS JOIN LATERAL (
    SELECT workflow_id, user_id
    FROM dbos_workflow
    WHERE queue_name = wanted.queue_name
      AND deduplication_id = wanted.deduplication_id
      AND (
          status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
          OR unique_until > clock_timestamp()
      )
    OFFSET 0
) AS workflow
