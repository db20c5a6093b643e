-- The lane of a workflow: a partition key is claimed with its whole queue, which has no priority.
queue_name,
CASE WHEN partition_key = '' THEN priority END AS priority
