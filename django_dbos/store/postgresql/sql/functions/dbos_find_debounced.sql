-- The delayed workflow of a debounce key. See find_debounced.sql.
CREATE OR REPLACE FUNCTION {schema}.dbos_find_debounced(
    workflow_name text,
    debounce_key text,
    OUT name text,
    OUT key text,
    OUT workflow_id text,
    OUT user_id text
)
RETURNS SETOF record
LANGUAGE sql
VOLATILE
AS $function$
    {find_debounced}
$function$
