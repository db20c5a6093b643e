-- Start a workflow in the caller's transaction, as start_by_name() does where the function's code
-- isn't: the options of its decorator aren't known here. Returns the id.
CREATE OR REPLACE FUNCTION {schema}.dbos_start_workflow(
    name text,
    arguments json DEFAULT '[]',
    workflow_id text DEFAULT NULL,
    queue_name text DEFAULT NULL,
    priority integer DEFAULT 0,
    run_after timestamptz DEFAULT NULL,
    timeout interval DEFAULT NULL,
    partition_key text DEFAULT NULL,
    deduplication_id text DEFAULT NULL,
    unique_for interval DEFAULT NULL,
    on_existing text DEFAULT 'return',
    on_duplicate text DEFAULT 'return',
    user_id text DEFAULT NULL,
    attributes json DEFAULT NULL,
    debounce_key text DEFAULT NULL,
    delay interval DEFAULT NULL,
    max_delay interval DEFAULT NULL
)
RETURNS text
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    new_token uuid := dbos_new_uuid();
    new_id text := coalesce(workflow_id, new_token::text);
    new_queue text := coalesce(queue_name, {default_queue});
    new_priority integer := coalesce(priority, 0);
    new_input text;
    due timestamptz := run_after;
    new_timeout interval := make_interval(secs => dbos_seconds(timeout, 'timeout'));
    unique_seconds float8 := dbos_seconds(unique_for, 'unique_for');
    delay_seconds float8 := dbos_seconds(delay, 'delay');
    max_seconds float8 := dbos_seconds(max_delay, 'max_delay');
    given_attributes jsonb;
    new_status text;
    debounced_id text;
    holder record;
    label text := format('The arguments of workflow %L', name);
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION 'A name can''t be NULL.' USING ERRCODE = '22023';
    END IF;
    PERFORM
        dbos_check_text(name, 'A name'),
        dbos_check_text(workflow_id, 'A workflow id'),
        dbos_check_text(queue_name, 'A queue name'),
        dbos_check_text(partition_key, 'A partition key'),
        dbos_check_text(deduplication_id, 'A deduplication id'),
        dbos_check_text(debounce_key, 'A debounce key'),
        dbos_check_text(user_id, 'A user''s pk'),
        dbos_check_length(arguments, label);
    CASE coalesce(json_typeof(arguments), 'null')
        WHEN 'array' THEN
            new_input := concat('{"args":', dbos_json_text(arguments, 99, label), ',"kwargs":{}}');
        WHEN 'object' THEN
            new_input := concat('{"args":[],"kwargs":', dbos_json_text(arguments, 99, label), '}');
        WHEN 'null' THEN
            new_input := '{"args":[],"kwargs":{}}';
        ELSE
            RAISE EXCEPTION 'arguments must be a JSON array of arguments, or a JSON object of '
                'keyword arguments, not %.', json_typeof(arguments) USING ERRCODE = '22023';
    END CASE;
    PERFORM dbos_check_size(new_input, label);
    given_attributes := dbos_attributes(attributes);

    IF new_priority NOT BETWEEN -100 AND 100 THEN
        RAISE EXCEPTION 'priority must be from -100 to 100, but is %.', priority
            USING ERRCODE = '22023';
    ELSIF run_after < timestamptz '0002-01-01 00:00:00+00' THEN
        RAISE EXCEPTION 'run_after must be after the year 1, but is %.', run_after
            USING ERRCODE = '22023';
    ELSIF coalesce(on_existing NOT IN ('return', 'reject'), true) THEN
        RAISE EXCEPTION 'on_existing must be ''return'' or ''reject'', not %.',
            quote_nullable(on_existing) USING ERRCODE = '22023';
    ELSIF coalesce(on_duplicate NOT IN ('return', 'reject', 'replace'), true) THEN
        RAISE EXCEPTION 'on_duplicate must be ''return'', ''reject'' or ''replace'', not %.',
            quote_nullable(on_duplicate) USING ERRCODE = '22023';
    END IF;

    -- What contradicts another option, or lacks it: see operations/options.py.
    IF debounce_key IS NOT NULL THEN
        IF workflow_id IS NOT NULL THEN
            RAISE EXCEPTION 'Give debounce_key or workflow_id, not both: the starts of a burst are '
                'one workflow, whose id is new.' USING ERRCODE = '22023';
        ELSIF run_after IS NOT NULL THEN
            RAISE EXCEPTION 'Give debounce_key or run_after, not both: delay decides when the '
                'workflow runs.' USING ERRCODE = '22023';
        ELSIF deduplication_id IS NOT NULL THEN
            RAISE EXCEPTION 'Give debounce_key or deduplication_id, not both: the debounce key '
                'decides what is the same.' USING ERRCODE = '22023';
        ELSIF delay IS NULL THEN
            RAISE EXCEPTION 'debounce_key % needs a delay.', quote_literal(debounce_key)
                USING ERRCODE = '22023';
        ELSIF max_seconds < delay_seconds THEN
            RAISE EXCEPTION 'max_delay must be at least the delay of %, but is %.',
                delay, max_delay USING ERRCODE = '22023';
        END IF;
    ELSIF delay IS NOT NULL THEN
        RAISE EXCEPTION 'delay % needs a debounce_key. For a fixed delay use run_after.', delay
            USING ERRCODE = '22023';
    ELSIF max_delay IS NOT NULL THEN
        RAISE EXCEPTION 'max_delay % needs a debounce_key.', max_delay USING ERRCODE = '22023';
    END IF;
    IF deduplication_id IS NULL THEN
        IF unique_for IS NOT NULL THEN
            RAISE EXCEPTION 'unique_for % needs a deduplication_id.', unique_for
                USING ERRCODE = '22023';
        ELSIF on_duplicate = 'replace' THEN
            RAISE EXCEPTION 'on_duplicate ''replace'' needs a deduplication_id.'
                USING ERRCODE = '22023';
        END IF;
    ELSIF on_duplicate = 'replace' AND unique_for IS NOT NULL THEN
        RAISE EXCEPTION 'Give unique_for or on_duplicate ''replace'', not both: with one the first '
            'workflow counts, with the other the last one.' USING ERRCODE = '22023';
    END IF;
    IF due >= timestamptz '9999-01-01 00:00:00+00' THEN
        due := timestamptz '9998-12-31 23:59:59.999999+00';
    END IF;
    IF partition_key IS NULL AND EXISTS (
        SELECT
        FROM dbos_queue AS queue
        WHERE queue.name = new_queue
          AND coalesce(
              queue.declared ->> 'partition_concurrency', queue.declared ->> 'partition_rate_limit'
          ) IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'Queue % limits each partition key, so a start in it needs one.',
            quote_literal(new_queue) USING ERRCODE = '22023';
    END IF;

    -- As many tries as in store/starting.py: the holder of an id may appear or vanish meanwhile.
    FOR try IN 1..CASE on_duplicate WHEN 'replace' THEN {max_replace_tries} ELSE {max_start_tries} END
    LOOP
        IF debounce_key IS NOT NULL THEN
            debounced_id := dbos_debounce_workflow(
                new_token, name, new_input, new_queue, new_priority, coalesce(partition_key, ''),
                debounce_key, delay_seconds, max_seconds, new_timeout, user_id, given_attributes
            );
            IF debounced_id IS NOT NULL THEN
                PERFORM dbos_notify_due(delay_seconds);
                RETURN debounced_id;
            END IF;
            SELECT * INTO holder FROM dbos_find_debounced(name, debounce_key);
            IF holder.user_id <> user_id THEN
                RAISE EXCEPTION 'Debounce key % is taken by another user''s workflow.',
                    quote_literal(debounce_key) USING ERRCODE = '42501';
            END IF;
            CONTINUE;
        END IF;

        INSERT INTO dbos_workflow AS workflow (
            workflow_id, token, name, version, status, queue_name, priority, queue_sequence,
            partition_key,
            deduplication_id, unique_until, input, user_id, attributes, claim_number, due_at,
            timeout, created_at
        )
        SELECT
            new_id, new_token, name,
            -- The first claim gives it the current version of its worker.
            '',
            CASE WHEN delayed.at IS NULL THEN 'ENQUEUED' ELSE 'DELAYED' END,
            new_queue, new_priority, nextval('dbos_queue_sequence'), coalesce(partition_key, ''),
            deduplication_id, clock_timestamp() + make_interval(secs => unique_seconds), new_input,
            user_id, given_attributes, 0, delayed.at, new_timeout, clock_timestamp()
        FROM (SELECT CASE WHEN due > clock_timestamp() THEN due END AS at) AS delayed
        ON CONFLICT DO NOTHING
        RETURNING workflow.status INTO new_status;

        IF new_status = 'ENQUEUED' THEN
            PERFORM pg_notify('dbos_enqueued', json_build_array(
                new_queue, CASE WHEN partition_key IS NULL THEN new_priority END
            )::text);
            RETURN new_id;
        ELSIF new_status = 'DELAYED' THEN
            PERFORM dbos_notify_due(extract(epoch FROM due - clock_timestamp())::float8);
            RETURN new_id;
        END IF;

        SELECT held.name, held.user_id INTO holder
        FROM dbos_workflow AS held
        WHERE held.workflow_id = new_id;
        IF FOUND THEN
            IF holder.name <> name THEN
                RAISE EXCEPTION 'Workflow id % is taken by a workflow of %.',
                    quote_literal(new_id), quote_literal(holder.name) USING ERRCODE = '23505';
            ELSIF holder.user_id <> user_id THEN
                RAISE EXCEPTION 'Workflow id % is taken by another user''s workflow.',
                    quote_literal(new_id) USING ERRCODE = '42501';
            ELSIF on_existing = 'reject' THEN
                RAISE EXCEPTION 'Workflow % exists already.', quote_literal(new_id)
                    USING ERRCODE = '23505';
            END IF;
            RETURN new_id;
        END IF;

        CONTINUE WHEN deduplication_id IS NULL;
        PERFORM dbos_free_expired_id(new_queue, deduplication_id);
        CONTINUE WHEN FOUND;
        SELECT * INTO holder FROM dbos_find_deduplicated(new_queue, deduplication_id);
        CONTINUE WHEN NOT FOUND;
        IF holder.user_id <> user_id THEN
            RAISE EXCEPTION 'Deduplication id % is taken by another user''s workflow.',
                quote_literal(deduplication_id) USING ERRCODE = '42501';
        ELSIF on_duplicate = 'reject' THEN
            RAISE EXCEPTION 'Deduplication id % is taken by workflow %.',
                quote_literal(deduplication_id), quote_literal(holder.workflow_id)
                USING ERRCODE = '23505';
        ELSIF on_duplicate = 'return' THEN
            RETURN holder.workflow_id;
        END IF;
        BEGIN
            PERFORM dbos_cancel_holder(holder.workflow_id);
            RETURN dbos_start_workflow(
                name, arguments, workflow_id, queue_name, priority, run_after, timeout,
                partition_key, deduplication_id, on_existing => 'reject', on_duplicate => 'reject',
                user_id => user_id, attributes => attributes
            );
        EXCEPTION
            -- Neither: another workflow has an id by now.
            WHEN unique_violation THEN
                CONTINUE;
        END;
    END LOOP;
    RAISE EXCEPTION 'Workflow % couldn''t be started: another one had its id each time.',
        quote_literal(coalesce(debounce_key, new_id)) USING ERRCODE = '40001';
END
$function$
