SELECT message.workflow_id, message.topic, message.message_id, message.message
FROM json_each(%(places)s) AS wanted
CROSS JOIN dbos_message AS message
  ON message.message_id IN (
      SELECT message_id
      FROM dbos_message
      WHERE workflow_id = json_extract(wanted.value, '$[0]')
        AND topic = json_extract(wanted.value, '$[1]')
        AND consumed_at IS NULL
      ORDER BY message_id
      LIMIT json_extract(wanted.value, '$[2]')
  )
ORDER BY message.message_id
