-- For each receiver and topic, as many unconsumed messages as there are receivers waiting.
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
