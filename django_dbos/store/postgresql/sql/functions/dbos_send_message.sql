-- Send a message in the caller's transaction, as send() does. The commit notifies the receiver, and
-- the trigger dbos_wake_receiver wakes it if it is suspended.
CREATE OR REPLACE FUNCTION {schema}.dbos_send_message(
    workflow_id text,
    message json,
    topic text DEFAULT NULL,
    idempotency_key text DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    receiver_id text := workflow_id;
    new_topic text := coalesce(topic, '');
    new_key text := idempotency_key;
    label text := format('A message to workflow %L', workflow_id);
    written text;
    sent bigint;
BEGIN
    IF workflow_id IS NULL THEN
        RAISE EXCEPTION 'A workflow id can''t be NULL.' USING ERRCODE = '22023';
    END IF;
    PERFORM
        dbos_check_text(workflow_id, 'A workflow id'),
        dbos_check_text(topic, 'A topic'),
        dbos_check_text(idempotency_key, 'An idempotency key'),
        dbos_check_length(message, label);
    IF starts_with(topic, {form_topic}) THEN
        RAISE EXCEPTION 'A topic can''t begin with %: answers to forms are messages, too.',
            quote_literal({form_topic}) USING ERRCODE = '22023';
    END IF;
    written := dbos_json_text(coalesce(message, 'null'), 100, label);
    PERFORM dbos_check_size(written, label);

    PERFORM set_config('dbos.sends_by_sql', 'yes', true);
    INSERT INTO dbos_message (workflow_id, topic, message, idempotency_key, created_at)
    SELECT receiver.workflow_id, new_topic, written, new_key, clock_timestamp()
    FROM dbos_workflow AS receiver
    WHERE receiver.workflow_id = receiver_id
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS sent = ROW_COUNT;
    PERFORM set_config('dbos.sends_by_sql', '', true);

    IF sent > 0 THEN
        PERFORM pg_notify('dbos_changed', json_build_array(
            concat('message:', receiver_id, ':', new_topic)
        )::text);
    ELSIF NOT EXISTS (
        SELECT FROM dbos_workflow AS receiver WHERE receiver.workflow_id = receiver_id
    ) THEN
        RAISE EXCEPTION 'There is no workflow %.', quote_literal(receiver_id)
            USING ERRCODE = 'P0002';
    END IF;
END
$function$
