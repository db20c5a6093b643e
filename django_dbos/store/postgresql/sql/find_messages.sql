-- Return, for each receiver and topic, one unconsumed message for each wait.
SELECT wanted.workflow_id, wanted.topic, message.message_id, message.message
FROM unnest(%(workflow_ids)s::text[], %(topics)s::text[], %(counts)s::int[])
    AS wanted (workflow_id, topic, count)
CROSS JOIN LATERAL (
    SELECT message_id, message
    FROM dbos_message
    WHERE workflow_id = wanted.workflow_id
      AND topic = wanted.topic
      AND consumed_at IS NULL
    ORDER BY message_id
    LIMIT wanted.count
) AS message
ORDER BY message.message_id
