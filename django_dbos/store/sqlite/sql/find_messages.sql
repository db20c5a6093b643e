-- Return the next unconsumed messages of one receiver and topic.
SELECT workflow_id, topic, message_id, message
FROM dbos_message
WHERE workflow_id = %(workflow_id)s AND topic = %(topic)s AND consumed_at IS NULL
ORDER BY message_id
LIMIT %(limit)s
