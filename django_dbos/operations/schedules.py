"""Schedules as code changes them: under the lock of their row, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.apps import apps

from django_dbos.conf import get_settings
from django_dbos.core import names, registry
from django_dbos.core import schedules as rules
from django_dbos.core.ids import new_uuid
from django_dbos.core.schedules import StoredSchedule
from django_dbos.exceptions import (
    DuplicateWorkflow,
    ScheduleDoesNotExist,
    ScheduleExists,
    ScheduleIsDeclared,
)
from django_dbos.operations import schedule_options, scheduling
from django_dbos.store import get_store

if TYPE_CHECKING:
    from django_dbos.models import Schedule
    from django_dbos.store.base import Store

# Instants that one backfill starts at most, and workflows that one statement looks for.
MAX_BACKFILL, AT_ONCE = 10_000, 500


class PastInstant(NamedTuple):
    """An instant that a backfill would start, unless it has started its workflow."""

    instant: datetime
    has_started: bool


def list_all() -> list[Schedule]:
    """Return the rows of all schedules, by name."""
    return [*_rows().order_by("name")]


def find(name: str) -> Schedule:
    """Return the row of a schedule; raise ScheduleDoesNotExist if there is none."""
    row = _rows().filter(name=name).first()
    if row is None:
        raise _missing(name)
    return cast("Schedule", row)


def create(name: str, options: dict[str, Any], on_existing: str) -> None:
    """Create a schedule with these stored options; `on_existing` says what a taken name does."""
    store, edited = _store(), rules.dumps(options)
    session = store.session()
    with session.transaction():
        now = store.read_clock(session)
        if on_existing == "return" and store.lock_schedule(session, name) is not None:
            return
        schedule_options.check_end(rules.of_stored(options, None), now, owner=f"Schedule {name!r}")
        new = scheduling.created(name, now, edited=edited)
        if not store.insert_schedule(session, new):
            existing = _locked(name)
            if on_existing == "reject":
                raise ScheduleExists(name)
            if on_existing == "return":
                return
            if existing.declared is not None:
                raise ScheduleIsDeclared(name)
            store.update_schedules(session, [existing.redefined(now, edited=edited)])
        store.announce_schedules()


def pause(name: str, reason: str, by: str) -> bool:
    """Pause a schedule; return False if it was paused already."""
    names.check_text(reason, label="reason", max_length=2_000, allow_empty=True)
    names.check_text(by, label="by", allow_empty=True)
    return _change(
        name, lambda row, now: row if row.paused_at is not None else row.paused(now, by, reason)
    )


def resume(name: str) -> bool:
    """Resume a schedule from now on; return False if it wasn't paused."""
    return _change(name, lambda row, now: row if row.paused_at is None else row.resumed(now))


def edit(name: str, given: Mapping[str, Any], *, pins_declared: bool = True) -> None:
    """Change options of a schedule, which win over those that are declared.

    Unless it `pins_declared`, an option that is declared so isn't edited any more, and follows the
    next declaration.
    """
    owner = f"Schedule {name!r}"
    options = schedule_options.checked(given, owner=owner)

    def change(row: StoredSchedule, now: datetime) -> StoredSchedule:
        arguments = _arguments(row, given)
        edited = {**row.edited_options, **options, **arguments}
        changed = rules.of_stored(row.declared_options, edited)
        schedule_options.check_definition(changed, owner=owner)
        if not pins_declared:
            edited = _differing(row, edited, options)
        return row.redefined(now, edited=rules.dumps(edited) if edited else None)

    _change(name, change)


def _differing(
    row: StoredSchedule, edited: dict[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the edited options without those just given that are declared alike."""
    if row.declared_options is None:
        return edited
    declared = rules.of_stored(row.declared_options, None)
    changed = rules.of_stored(row.declared_options, edited)
    alike = {name for name in given if getattr(declared, name) == getattr(changed, name)}
    return {name: value for name, value in edited.items() if name not in alike}


def _arguments(row: StoredSchedule, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the edited arguments, if any are given; args and kwargs belong together."""
    if "args" not in given and "kwargs" not in given:
        return {}
    workflow = registry.find(row.definition.workflow)
    args, kwargs = given.get("args", ()), given.get("kwargs", {})
    return {"input": schedule_options.input_of(workflow, args, kwargs)}


def reset(name: str) -> bool:
    """Drop the edited options of a declared schedule; return False if there were none."""

    def change(row: StoredSchedule, now: datetime) -> StoredSchedule:
        if row.declared is None:
            raise ValueError(
                f"Schedule {name!r} was made at run time, so that nothing is declared to reset it "
                "to. Edit it."
            )
        return row.redefined(now, edited=None) if row.edited is not None else row

    return _change(name, change)


def delete(name: str) -> None:
    """Delete a schedule that isn't declared."""
    store = _store()
    session = store.session()
    with session.transaction():
        row = _locked(name)
        if row.declared is not None and schedule_options.is_declared(name):
            raise ScheduleIsDeclared(name)
        store.delete_schedule(session, name)


def trigger(name: str, workflow_id: str | None = None) -> str:
    """Start the workflow of a schedule now; return its id.

    Raises:
        DuplicateWorkflow: There is a workflow with the id that is given.
    """
    store = _store()
    session = store.session()
    with session.transaction():
        row, now = _locked(name), store.read_clock(session)
        start = rules.Start(now, workflow_id or str(new_uuid()))
        if not store.start_scheduled([scheduling.new_workflow(name, row.definition, start)]):
            raise DuplicateWorkflow(start.workflow_id)
    return start.workflow_id


def backfill(name: str, first: datetime, last: datetime) -> list[str]:
    """Start the past instants that haven't been started; return the ids of their workflows."""
    begin = schedule_options.to_instant(first, label="first")
    until = schedule_options.to_instant(last, label="last")
    store = _store()
    session = store.session()
    with session.transaction():
        # Under the lock: the executors that start the schedule's instants skip it meanwhile.
        row, now = _locked(name), store.read_clock(session)
        instants = _past_instants(name, row.definition, now, begin, until)
        new = [
            scheduling.new_workflow(
                name, row.definition, rules.Start(instant, rules.workflow_id(name, instant))
            )
            for instant in instants
        ]
        inserted = store.start_scheduled(new) if new else set()
    return [workflow.workflow_id for workflow in new if workflow.workflow_id in inserted]


def preview_backfill(name: str, first: datetime, last: datetime) -> list[PastInstant]:
    """Return the past instants of a range, each with whether it has started its workflow."""
    begin = schedule_options.to_instant(first, label="first")
    until = schedule_options.to_instant(last, label="last")
    store = get_store()
    now = store.read_clock(store.session())
    instants = _past_instants(name, find(name).definition, now, begin, until)
    ids = [rules.workflow_id(name, instant) for instant in instants]
    workflows: Any = apps.get_model("django_dbos", "Workflow").objects.using(store.alias)
    started: set[str] = set()
    for start in range(0, len(ids), AT_ONCE):
        some = workflows.filter(pk__in=ids[start : start + AT_ONCE])
        started.update(some.values_list("pk", flat=True))
    return [
        PastInstant(instant, workflow_id in started)
        for instant, workflow_id in zip(instants, ids, strict=True)
    ]


def _past_instants(
    name: str, definition: rules.Definition, now: datetime, first: datetime, last: datetime
) -> list[datetime]:
    if last > now:
        raise ValueError(f"last must not be later than now, {now}, but is {last}.")
    if last < first:
        raise ValueError(f"last, {last}, must not be earlier than first, {first}.")
    instants = rules.instants_between(definition, first, last, MAX_BACKFILL + 1)
    if len(instants) > MAX_BACKFILL:
        raise ValueError(
            f"Schedule {name!r} has more than {MAX_BACKFILL:,} instants from {first} to {last}: "
            "backfill fewer at a time."
        )
    return instants


def _change(name: str, change: Callable[[StoredSchedule, datetime], StoredSchedule]) -> bool:
    """Change a row under its lock; return whether it is another one now."""
    store = _store()
    session = store.session()
    with session.transaction():
        row = _locked(name)
        changed = change(row, store.read_clock(session))
        if changed == row:
            return False
        store.update_schedules(session, [changed])
        store.announce_schedules()
    return True


def _locked(name: str) -> StoredSchedule:
    """Lock a row; that of a declared schedule is written first, if no worker has done so yet."""
    store, session = get_store(), get_store().session()
    row = store.lock_schedule(session, name)
    if row is None and name in registry.schedules.keys() | get_settings().schedules.keys():
        found, problems = schedule_options.declared()
        if name in problems:
            raise problems[name]
        new = scheduling.created(name, store.read_clock(session), declared=rules.dumps(found[name]))
        store.insert_schedule(session, new)
        row = store.lock_schedule(session, name)
    if row is None:
        raise _missing(name)
    return row


def _missing(name: str) -> ScheduleDoesNotExist:
    known = _rows().values_list("name", flat=True)
    return ScheduleDoesNotExist(name, names.closest(name, known))


def _store() -> Store:
    """Return the store, for a change in the caller's transaction."""
    store = get_store()
    store.refuse_in_atomic_elsewhere("schedules")
    return store


def _rows() -> Any:
    model: Any = apps.get_model("django_dbos", "Schedule")
    return model.objects.using(get_store().alias)
