-- Free a deduplication id that an ended workflow has kept until now. See free_expired_ids.sql.
CREATE OR REPLACE FUNCTION {schema}.dbos_free_expired_id(queue_name text, deduplication_id text)
RETURNS SETOF text
LANGUAGE sql
VOLATILE
AS $function$
    {free_expired_ids}
$function$
