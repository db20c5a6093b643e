-- Return a duration in seconds, as core/durations.py checks it; NULL for NULL.
CREATE OR REPLACE FUNCTION {schema}.dbos_seconds(given interval, label text)
RETURNS float8
LANGUAGE plpgsql
IMMUTABLE
STRICT
AS $function$
DECLARE
    seconds float8 := extract(epoch FROM given);
BEGIN
    IF seconds <= 0 THEN
        RAISE EXCEPTION '% must be more than 0, but is %.', label, given USING ERRCODE = '22023';
    ELSIF seconds > {longest} THEN
        RAISE EXCEPTION '% can''t be more than 1,000 years, but is %.', label, given
            USING ERRCODE = '22023';
    END IF;
    RETURN seconds;
END
$function$
