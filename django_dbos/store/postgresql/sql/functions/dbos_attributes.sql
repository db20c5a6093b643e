-- Return attributes as the column has them; NULL for NULL. See operations/attributes.py.
CREATE OR REPLACE FUNCTION {schema}.dbos_attributes(given json)
RETURNS jsonb
LANGUAGE plpgsql
IMMUTABLE
AS $function$
BEGIN
    IF json_typeof(given) <> 'object' THEN
        RAISE EXCEPTION 'attributes must be a JSON object, not %.', json_typeof(given)
            USING ERRCODE = '22023';
    ELSIF given IS NOT NULL THEN
        PERFORM dbos_check_length(given, 'attributes');
        PERFORM dbos_check_size(dbos_json_text(given, 100, 'attributes'), 'attributes');
    END IF;
    RETURN given::jsonb;
END
$function$
