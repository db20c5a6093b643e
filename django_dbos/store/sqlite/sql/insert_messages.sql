-- Store messages. A used idempotency key inserts nothing.
INSERT INTO dbos_message (workflow_id, topic, message, idempotency_key, sender_id, created_at)
VALUES (
    %(workflow_id)s, %(topic)s, %(message)s, %(idempotency_key)s, %(sender_id)s, %(now)s
)
ON CONFLICT DO NOTHING
