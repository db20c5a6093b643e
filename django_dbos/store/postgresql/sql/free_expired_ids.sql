-- Free deduplication ids that ended workflows have kept until now. A row that another transaction
-- has locked is left alone: that one frees the id, or resumes the workflow.
UPDATE dbos_workflow
SET unique_until = NULL
WHERE workflow_id IN (
    SELECT workflow.workflow_id
    FROM unnest(%(queue_names)s::text[], %(deduplication_ids)s::text[])
        AS wanted (queue_name, deduplication_id)
    JOIN dbos_workflow AS workflow
      ON workflow.queue_name = wanted.queue_name
     AND workflow.deduplication_id = wanted.deduplication_id
    WHERE workflow.deduplication_id IS NOT NULL
      AND workflow.unique_until <= clock_timestamp()
      AND workflow.status NOT IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
    FOR UPDATE OF workflow SKIP LOCKED
)
RETURNING workflow_id
