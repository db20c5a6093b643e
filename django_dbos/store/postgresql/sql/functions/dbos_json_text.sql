-- Return plain JSON as the text in which Python stores the same value: compact, with only the
-- escapes that JSON needs, and with an object wrapped that Python would take for a tagged value. See
-- core/values/json.py.
CREATE OR REPLACE FUNCTION {schema}.dbos_json_text(document json, room integer, label text)
RETURNS text
LANGUAGE plpgsql
IMMUTABLE
AS $function$
DECLARE
    kind text := json_typeof(document);
    written text := btrim(document::text, E' \t\n\r');
    content text;
    keys bigint;
    distinct_keys bigint;
    first_key text;
BEGIN
    IF position('\u0000' IN written) > 0 AND written ~ '(?<!\\)(?:\\\\)*\\u0000' THEN
        -- JSON may have NUL in a text, and no text of the database has it: another one stands for it.
        IF position(E'\U0010FFFF' IN written) > 0 THEN
            RAISE EXCEPTION '% can''t be stored: it has NUL and U+10FFFF.', label
                USING ERRCODE = '22023';
        END IF;
        written := regexp_replace(
            written, '(?<!\\)((?:\\\\)*)\\u0000', E'\\1\U0010FFFF', 'g'
        );
        RETURN replace(
            dbos_json_text(written::json, room, label), E'\U0010FFFF', '\u0000'
        );
    END IF;
    IF kind IN ('array', 'object') AND room = 0 THEN
        RAISE EXCEPTION '% can''t be stored: it is nested more than 100 deep.', label
            USING ERRCODE = '22023';
    END IF;
    CASE kind
        WHEN 'array' THEN
            SELECT string_agg(
                dbos_json_text(item.value, room - 1, label), ',' ORDER BY item.position
            )
            INTO content
            FROM json_array_elements(document) WITH ORDINALITY AS item (value, position);
            RETURN concat('[', content, ']');
        WHEN 'object' THEN
            SELECT
                count(*), count(DISTINCT item.key), min(item.key),
                string_agg(
                    to_json(item.key)::text || ':' || dbos_json_text(item.value, room - 1, label),
                    ',' ORDER BY item.position
                )
            INTO keys, distinct_keys, first_key, content
            FROM json_each(document) WITH ORDINALITY AS item (key, value, position);
            IF keys > distinct_keys THEN
                RAISE EXCEPTION '% can''t be stored: an object has a key twice.', label
                    USING ERRCODE = '22023';
            ELSIF keys = 1 AND left(first_key, 1) = '$' THEN
                -- After the key comes a colon.
                RETURN concat(
                    '{"$dict":[[', to_json(first_key)::text, ',',
                    substr(content, char_length(to_json(first_key)::text) + 2), ']]}'
                );
            END IF;
            RETURN concat('{', content, '}');
        WHEN 'number' THEN
            IF written ~ '[.eE]' THEN
                -- Fails for a number that Python would read as infinite.
                PERFORM written::float8;
            ELSIF length(written) > 4300 THEN
                RAISE EXCEPTION '% can''t be stored: a number has % digits.',
                    label, length(written) USING ERRCODE = '22023';
            END IF;
            RETURN written;
        WHEN 'string' THEN
            -- Half of a pair of surrogates fails.
            RETURN to_json(document #>> '{}')::text;
        ELSE
            RETURN written;
    END CASE;
END
$function$
