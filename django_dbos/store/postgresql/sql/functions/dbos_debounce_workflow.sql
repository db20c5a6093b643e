-- Begin a burst, or change the workflow of one that has begun; return its id, and NULL if it belongs
-- to another user. See debounce_workflow.sql; parent, trace and limits of attempts are Python's.
CREATE OR REPLACE FUNCTION {schema}.dbos_debounce_workflow(
    new_token uuid,
    new_name text,
    new_input text,
    new_queue text,
    new_priority integer,
    new_partition text,
    new_key text,
    new_delay float8,
    longest_delay float8,
    new_timeout interval,
    new_user text,
    new_attributes jsonb
)
RETURNS text
LANGUAGE plpgsql
VOLATILE
AS $function$
DECLARE
    debounced_id text;
BEGIN
    {debounce_workflow}
    INTO debounced_id;
    RETURN debounced_id;
END
$function$
