"""The functions by which other languages start workflows and send messages, in plain SQL.

A migration makes them, and each later `migrate` replaces those whose text has changed: with this
package, or with the settings that are written into them. Who may execute them is left as it is; at
first it is nobody but the owner of the tables.

They run with the owner's rights. So their search path is that of the system's own schema, and all
else is named with its schema: a role that may make functions and operators beside the tables could
otherwise have the owner run them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from textwrap import indent
from typing import Any

from django.db import transaction

from django_dbos.conf import get_settings
from django_dbos.core.durations import LONGEST
from django_dbos.core.records import FORM_TOPIC
from django_dbos.store import statements
from django_dbos.store.starting import MAX_REPLACE_TRIES, MAX_START_TRIES

# In the order in which they are made.
NAMES = (
    "dbos_new_uuid",
    "dbos_seconds",
    "dbos_check_text",
    "dbos_check_size",
    "dbos_check_length",
    "dbos_json_text",
    "dbos_attributes",
    "dbos_free_expired_id",
    "dbos_find_deduplicated",
    "dbos_cancel_holder",
    "dbos_find_debounced",
    "dbos_debounce_workflow",
    "dbos_notify_due",
    "dbos_start_workflow",
    "dbos_send_message",
    "dbos_wake_receiver",
    "dbos_set_attributes",
    "dbos_get_result",
)
CLIENT_NAMES = (
    "dbos_start_workflow",
    "dbos_send_message",
    "dbos_set_attributes",
    "dbos_get_result",
)
"""Those that clients call; the others serve them."""

SCHEMA = """
SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('dbos_workflow')
"""
FIND = """
SELECT proname, oid::regprocedure::text, obj_description(oid, 'pg_proc')
FROM pg_proc
WHERE pronamespace = %s::regnamespace AND proname = ANY(%s)
ORDER BY pg_proc.oid
"""
FIND_GRANTS = """
SELECT
    CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END,
    granted.is_grantable
FROM pg_proc
CROSS JOIN LATERAL aclexplode(proacl) AS granted
WHERE oid = %s::regprocedure
"""
TRIGGER = """
CREATE CONSTRAINT TRIGGER dbos_wake_receiver
AFTER INSERT ON {schema}.dbos_message
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW
WHEN (current_setting('dbos.sends_by_sql', true) = 'yes')
EXECUTE FUNCTION {schema}.dbos_wake_receiver()
"""
# The name of something of ours that has no schema before it, and no column behind it.
NAME = re.compile(r"(?<![\w.'])(dbos_\w+)\b(?!\.)")
DROP_TRIGGER = "DROP TRIGGER IF EXISTS dbos_wake_receiver ON {schema}.dbos_message"

# The marks of the functions that are there, by their names and then by their signatures.
Found = dict[str, dict[str, str | None]]


def create(connection: Any) -> None:
    """Make the functions and the trigger, beside the tables; replace what is there."""
    with connection.cursor() as cursor:
        if (schema := _schema(cursor)) is None:
            return
        _write(cursor, schema, _found(cursor, schema))
        cursor.execute(DROP_TRIGGER.format(schema=schema))
        cursor.execute(TRIGGER.format(schema=schema))


def refresh(connection: Any) -> None:
    """Replace the functions whose text has changed, where they were made."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        schema = _schema(cursor)
        found = {} if schema is None else _found(cursor, schema)
        if schema is not None and found:
            _write(cursor, schema, found)


def drop(connection: Any) -> None:
    """Drop the functions and the trigger."""
    with connection.cursor() as cursor:
        if (schema := _schema(cursor)) is None:
            return
        cursor.execute(DROP_TRIGGER.format(schema=schema))
        found = _found(cursor, schema)
        for name in reversed(NAMES):
            _drop(cursor, found.get(name, ()))


def _write(cursor: Any, schema: str, found: Found) -> None:
    for name in NAMES:
        text = _text(name).replace("{schema}", schema)
        text = text.replace("{schema in a literal}", schema.replace("'", "''"))
        mark = f"django_dbos {hashlib.sha256(text.encode()).hexdigest()[:16]}"
        before = found.get(name, {})
        if list(before.values()) == [mark]:
            continue
        # Of several, the first: an earlier release's `migrate` has made its own beside ours, and
        # anyone may execute that.
        grants = _grants(cursor, next(iter(before), None))
        if len(before) > 1:
            _drop(cursor, before)
        cursor.execute(text)
        made = _found(cursor, schema)[name].keys() - before.keys()
        if len(before) == 1 and made:
            # The new one has other parameters, and is beside the old one: a call would fit both.
            _drop(cursor, before)
        cursor.execute(f"COMMENT ON FUNCTION {schema}.{name} IS '{mark}'")
        if len(before) != 1 or made:
            cursor.execute(f"REVOKE ALL ON FUNCTION {schema}.{name} FROM PUBLIC")
            for role, is_grantable in grants:
                option = " WITH GRANT OPTION" if is_grantable else ""
                cursor.execute(f"GRANT EXECUTE ON FUNCTION {schema}.{name} TO {role}{option}")


def _grants(cursor: Any, signature: str | None) -> list[tuple[str, bool]]:
    """Return who may execute a function, and whether they may pass that on."""
    if signature is None:
        return []
    cursor.execute(FIND_GRANTS, [signature])
    found: list[tuple[str, bool]] = cursor.fetchall()
    return found


def _drop(cursor: Any, signatures: Iterable[str]) -> None:
    for signature in signatures:
        cursor.execute(f"DROP FUNCTION {signature}")


def _schema(cursor: Any) -> str | None:
    """Return the schema of the tables, quoted; None without tables."""
    cursor.execute(SCHEMA)
    return next((row[0] for row in cursor.fetchall()), None)


def _found(cursor: Any, schema: str) -> Found:
    cursor.execute(FIND, [schema, list(NAMES)])
    found: Found = {}
    for name, signature, mark in cursor.fetchall():
        found.setdefault(name, {})[signature] = mark
    return found


def _text(name: str) -> str:
    """Return the text of a function with what stands in braces, but the schema."""
    settings = get_settings()
    values = {
        "{default_queue}": _literal(settings.default_queue),
        "{max_payload_bytes}": str(settings.max_payload_bytes),
        "{longest}": str(int(LONGEST)),
        "{form_topic}": _literal(FORM_TOPIC),
        "{max_start_tries}": str(MAX_START_TRIES),
        "{max_replace_tries}": str(MAX_REPLACE_TRIES),
        **_shared(),
    }
    text = _file(name)
    for place, value in values.items():
        text = text.replace(place, value)
    return _with_schema(text)


def _with_schema(text: str) -> str:
    """Put the schema before the tables, the functions and the sequence of a function's text."""
    text = NAME.sub(r"{schema}.\1", text)
    return text.replace("'dbos_queue_sequence'", "'{schema in a literal}.dbos_queue_sequence'")


@cache
def _file(name: str) -> str:
    folder = files("django_dbos.store").joinpath("postgresql", "sql", "functions")
    return folder.joinpath(f"{name}.sql").read_text("utf-8")


@cache
def _shared() -> dict[str, str]:
    """Return the statements that the store and the functions have in common, as parts of these."""
    parameters = {
        "free_expired_ids": {
            "%(queue_names)s": "ARRAY[$1]",
            "%(deduplication_ids)s": "ARRAY[$2]",
        },
        "find_deduplicated": {
            "%(queue_names)s": "ARRAY[$1]",
            "%(deduplication_ids)s": "ARRAY[$2]",
        },
        "cancel_workflows": {"%(workflow_ids)s": "ARRAY[holder_id]"},
        "free_ids": {"%(workflow_ids)s": "ARRAY[holder_id]"},
        "find_debounced": {"%(names)s": "ARRAY[$1]", "%(keys)s": "ARRAY[$2]"},
        "debounce_workflow": {
            "%(workflow_id)s": "new_token",
            "%(token)s": "new_token",
            "%(name)s": "new_name",
            "%(version)s": "''",
            "%(queue_name)s": "new_queue",
            "%(priority)s": "new_priority",
            "%(partition_key)s": "new_partition",
            "%(debounce_key)s": "new_key",
            "%(max_delay)s": "longest_delay",
            "%(input)s": "new_input",
            "%(user_id)s": "new_user",
            "%(attributes)s": "new_attributes",
            "%(traceparent)s": "NULL",
            "%(max_recovery_attempts)s": "NULL",
            "%(parent_id)s": "NULL",
            "%(parent_step_number)s": "NULL",
            "%(delay)s": "new_delay",
            "%(timeout)s": "new_timeout",
            "%(inherits_deadline)s": "false",
        },
        "wake_receiver": {"%(workflow_id)s": "NEW.workflow_id", "%(topic)s": "NEW.topic"},
    }
    return {f"{{{name}}}": _inlined(name, given) for name, given in parameters.items()}


def _inlined(name: str, parameters: dict[str, str]) -> str:
    text = statements.load("postgresql", name)
    for place, value in parameters.items():
        text = text.replace(place, value)
    return indent(text, "    ").lstrip()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
