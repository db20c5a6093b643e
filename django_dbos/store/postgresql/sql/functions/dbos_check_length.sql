-- Raise an error for JSON of which more than DBOS["MAX_PAYLOAD_BYTES"] would be stored whatever its
-- form is, before dbos_json_text writes it anew: that takes seconds for some megabytes. White space
-- isn't stored, and an escape may become a shorter one, or a letter.
CREATE OR REPLACE FUNCTION {schema}.dbos_check_length(document json, label text)
RETURNS void
LANGUAGE plpgsql
IMMUTABLE
AS $function$
DECLARE
    rest text := document::text;
BEGIN
    IF octet_length(rest) > {max_payload_bytes} THEN
        IF position('\' IN rest) > 0 THEN
            rest := regexp_replace(rest, '\\(u[[:xdigit:]]{4}|.)', '', 'g');
        END IF;
        rest := translate(rest, E' \t\n\r', '');
        IF octet_length(rest) > {max_payload_bytes} THEN
            RAISE EXCEPTION '% can''t be stored: it has % bytes, and the limit is '
                '{max_payload_bytes}.', label, octet_length(document::text)
                USING ERRCODE = '54000', HINT = 'DBOS["MAX_PAYLOAD_BYTES"] is the limit. Store '
                    'large values elsewhere, and send their names.';
        END IF;
    END IF;
END
$function$
