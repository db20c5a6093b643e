-- Return the next workflows of a partition key: those that go on, and those that start (rule 56).
SELECT workflow_id, partition_key, is_start
FROM (
    SELECT *
    FROM (
        SELECT workflow_id, partition_key, false AS is_start, priority, queue_sequence
        FROM dbos_workflow
        WHERE status = 'ENQUEUED'
          AND queue_name = %(queue_name)s
          AND partition_key = %(partition_key)s
          AND queue_sequence < 0
          AND place = 0
          -- include: is_known
          AND recovery_attempts < 3
        ORDER BY priority DESC, queue_sequence, workflow_id
        LIMIT %(limit)s
    )
    UNION ALL
    SELECT *
    FROM (
        SELECT workflow_id, partition_key, true AS is_start, priority, queue_sequence
        FROM dbos_workflow
        WHERE status = 'ENQUEUED'
          AND queue_name = %(queue_name)s
          AND partition_key = %(partition_key)s
          AND queue_sequence >= 0
          AND place = 0
          -- include: is_known
          AND recovery_attempts < 3
        ORDER BY priority DESC, queue_sequence, workflow_id
        LIMIT %(new_limit)s
    )
)
ORDER BY priority DESC, queue_sequence, workflow_id
LIMIT %(limit)s
