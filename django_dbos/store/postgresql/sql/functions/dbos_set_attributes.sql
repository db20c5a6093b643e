-- Change the attributes of a workflow in the caller's transaction, as handle.set_attributes() does.
CREATE OR REPLACE FUNCTION {schema}.dbos_set_attributes(
    workflow_id text,
    attributes json,
    merge boolean DEFAULT false
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    changed_id text := workflow_id;
    given jsonb := dbos_attributes(attributes);
    existing jsonb;
BEGIN
    IF given IS NULL THEN
        RAISE EXCEPTION 'attributes must be a JSON object, not NULL; {} has none.'
            USING ERRCODE = '22023';
    END IF;
    SELECT changed.attributes INTO existing
    FROM dbos_workflow AS changed
    WHERE changed.workflow_id = changed_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no workflow %.', quote_nullable(changed_id)
            USING ERRCODE = 'P0002';
    END IF;
    IF merge THEN
        given := coalesce(existing, '{}') || given;
        PERFORM dbos_check_size(given::text, 'attributes');
    END IF;
    UPDATE dbos_workflow AS changed SET attributes = given WHERE changed.workflow_id = changed_id;
END
$function$
