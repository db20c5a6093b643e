-- Have the commit notify executors of a workflow that is due in this many seconds.
CREATE OR REPLACE FUNCTION {schema}.dbos_notify_due(seconds float8)
RETURNS void
LANGUAGE plpgsql
VOLATILE
AS $function$
BEGIN
    -- What is due later is found by a heartbeat before.
    IF seconds < 60 THEN
        PERFORM pg_notify('dbos_changed', json_build_array(
            'due:' || round(greatest(seconds, 0)::numeric, 6)
        )::text);
    END IF;
END
$function$
