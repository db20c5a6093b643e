-- Cancel the workflow whose deduplication id a start takes, and free that id, as store/starting.py
-- does. The commit notifies who waits in memory, and the executors: one stops the workflow, and all
-- wake the rows that wait for its end, which must not happen before the commit (rule 105).
CREATE OR REPLACE FUNCTION {schema}.dbos_cancel_holder(holder_id text)
RETURNS void
LANGUAGE plpgsql
VOLATILE
AS $function$
DECLARE
    cancelled record;
BEGIN
    FOR cancelled IN
        {cancel_workflows}
    LOOP
        PERFORM pg_notify('dbos_changed', json_build_array(
            concat('result:', holder_id, ':'),
            concat('run:', holder_id),
            concat('cancelled:', holder_id)
        )::text);
        IF cancelled.freed_queue IS NOT NULL THEN
            PERFORM pg_notify('dbos_enqueued', json_build_array(
                cancelled.freed_queue, NULL::integer
            )::text);
        END IF;
    END LOOP;
    {free_ids};
END
$function$
