-- Store messages in the given order: the sequence is dealt row by row. A used idempotency key
-- inserts nothing.
INSERT INTO dbos_message (workflow_id, topic, message, idempotency_key, sender_id, created_at)
SELECT sent.workflow_id, sent.topic, sent.message, sent.idempotency_key, sent.sender_id,
       clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(topic)s::text[], %(message)s::text[], %(idempotency_key)s::text[],
    %(sender_id)s::text[]
) WITH ORDINALITY
    AS sent (workflow_id, topic, message, idempotency_key, sender_id, position)
ORDER BY sent.position
ON CONFLICT DO NOTHING
