-- Free deduplication ids that ended workflows have kept until now. A row that another transaction
-- has locked is left alone: that one frees the id, or resumes the workflow.
UPDATE dbos_workflow
SET unique_until = NULL
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow.workflow_id
    FROM unnest(%(queue_names)s::text[], %(deduplication_ids)s::text[])
        AS wanted (queue_name, deduplication_id)
    CROSS JOIN LATERAL (
        SELECT workflow_id
        FROM dbos_workflow
        WHERE queue_name = wanted.queue_name
          AND deduplication_id = wanted.deduplication_id
          AND unique_until <= clock_timestamp()
          AND status NOT IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
        FOR UPDATE SKIP LOCKED
    ) AS workflow
))
RETURNING workflow_id
