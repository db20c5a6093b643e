-- The state of a workflow in portable form; NULL if there is none. "output_format" is "json" for
-- plain JSON, "tagged" for JSON with values of Python's types as {"$…": …}, or else the name of the
-- serializer that wrote the value, which is null then.
CREATE OR REPLACE FUNCTION {schema}.dbos_get_result(workflow_id text)
RETURNS json
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    wanted_id text := workflow_id;
    shown record;
    format text;
    output json;
    failure json;
BEGIN
    SELECT
        result.workflow_id AS id, result.name, result.status, result.output AS written,
        result.error, result.finished_at IS NOT NULL AND NOT result.is_quarantined AS has_ended,
        result.is_quarantined, result.attributes, result.created_at, result.finished_at
    INTO shown
    FROM dbos_workflow AS result
    WHERE result.workflow_id = wanted_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF starts_with(shown.written, '!') THEN
        format := split_part(substr(shown.written, 2), ':', 1);
    ELSIF shown.written IS NOT NULL THEN
        format := CASE WHEN shown.written LIKE '%{"$%' THEN 'tagged' ELSE 'json' END;
        output := shown.written::json;
    END IF;
    IF shown.error IS NOT NULL AND NOT starts_with(shown.error, '!') THEN
        failure := json_build_object(
            'class', shown.error::json -> 'error', 'message', shown.error::json -> 'message'
        );
    ELSIF shown.error IS NOT NULL THEN
        failure := json_build_object('class', NULL, 'message', NULL);
    END IF;
    RETURN json_build_object(
        'workflow_id', shown.id,
        'name', shown.name,
        'status', shown.status,
        'has_ended', shown.has_ended,
        'is_quarantined', shown.is_quarantined,
        'output', output,
        'output_format', format,
        'error', failure,
        'attributes', shown.attributes,
        'created_at', shown.created_at,
        'finished_at', shown.finished_at
    );
END
$function$
