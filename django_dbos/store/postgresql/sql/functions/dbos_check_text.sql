-- Raise an error unless a text is NULL, or 1 to 255 characters long, as core/names.py does.
CREATE OR REPLACE FUNCTION {schema}.dbos_check_text(given text, label text)
RETURNS void
LANGUAGE plpgsql
IMMUTABLE
AS $function$
BEGIN
    IF given = '' THEN
        RAISE EXCEPTION '% can''t be empty.', label USING ERRCODE = '22023';
    ELSIF char_length(given) > 255 THEN
        RAISE EXCEPTION '% can''t be longer than 255 characters, but has %.',
            label, char_length(given) USING ERRCODE = '22023';
    END IF;
END
$function$
