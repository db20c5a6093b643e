-- A UUIDv7, as core/ids.py makes it: ordered by time.
CREATE OR REPLACE FUNCTION {schema}.dbos_new_uuid()
RETURNS uuid
LANGUAGE sql
VOLATILE
AS $function$
    SELECT overlay(
        overlay(gen_random_uuid()::text PLACING '7' FROM 15 FOR 1)
        PLACING concat(left(made.digits, 8), '-', right(made.digits, 4)) FROM 1 FOR 13
    )::uuid
    FROM (
        SELECT lpad(
            to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0'
        ) AS digits
    ) AS made
$function$
