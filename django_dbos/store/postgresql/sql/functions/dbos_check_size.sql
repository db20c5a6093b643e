-- Raise an error for a text of more than DBOS["MAX_PAYLOAD_BYTES"], as the last `migrate` saw it.
CREATE OR REPLACE FUNCTION {schema}.dbos_check_size(written text, label text)
RETURNS void
LANGUAGE plpgsql
IMMUTABLE
AS $function$
BEGIN
    IF octet_length(written) > {max_payload_bytes} THEN
        RAISE EXCEPTION '% can''t be stored: it has % bytes, and the limit is {max_payload_bytes}.',
            label, octet_length(written)
            USING ERRCODE = '54000', HINT = 'DBOS["MAX_PAYLOAD_BYTES"] is the limit. Store large '
                'values elsewhere, and send their names.';
    END IF;
END
$function$
