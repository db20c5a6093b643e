-- The workflow that holds a deduplication id. See find_deduplicated.sql.
CREATE OR REPLACE FUNCTION {schema}.dbos_find_deduplicated(
    queue_name text,
    deduplication_id text,
    OUT queue text,
    OUT held text,
    OUT workflow_id text,
    OUT user_id text
)
RETURNS SETOF record
LANGUAGE sql
VOLATILE
AS $function$
    {find_deduplicated}
$function$
