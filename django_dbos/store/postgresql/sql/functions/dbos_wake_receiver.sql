-- Wake the suspended receiver of a message that dbos_send_message has stored, at the commit (rule
-- 88). The row stays locked until the message can be seen: a suspension that comes now skips it,
-- and reads again after that. Who waits too long, or is in a snapshot that doesn't show the row,
-- leaves it to the sweep.
CREATE OR REPLACE FUNCTION {schema}.dbos_wake_receiver()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $function$
DECLARE
    lane record;
BEGIN
    PERFORM FROM dbos_workflow AS receiver
    WHERE receiver.workflow_id = NEW.workflow_id
    FOR NO KEY UPDATE;
    FOR lane IN
        {wake_receiver}
    LOOP
        PERFORM pg_notify('dbos_enqueued', json_build_array(lane.queue_name, lane.priority)::text);
    END LOOP;
    RETURN NULL;
EXCEPTION
    WHEN lock_not_available OR serialization_failure OR deadlock_detected THEN
        RETURN NULL;
END
$function$
