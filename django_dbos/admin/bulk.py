"""An action on all workflows that match the filters of the list: a durable workflow of its own.

It goes through the list from the newest to the oldest, a page at a time. A page is one atomic step:
its changes, the entries in the history and its checkpoint are committed together, so that a crash
repeats nothing. The event "progress" has the numbers so far.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.admin.sites import all_sites
from django.contrib.auth import get_user_model
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.db.models import Q
from django.http import HttpRequest, QueryDict

from django_dbos import serializers
from django_dbos.admin.act import Act, Results, change_batch
from django_dbos.admin.acts import ACTS
from django_dbos.admin.base import rows_of
from django_dbos.api.current import continue_as_new, current_workflow
from django_dbos.api.events import set_event
from django_dbos.decorators import step, workflow
from django_dbos.exceptions import DbosError
from django_dbos.handles import WorkflowHandle
from django_dbos.models import Workflow

NAME, PROGRESS = "django_dbos.act_on_all", "progress"
# The attribute that says that the workflow is as it was ordered.
SIGNED = "ordered"
# The number of workflows that a page changes, of pages in a run, of workflows that are counted
# before, and of unchanged ones that are named.
PAGE, PAGES, MOST_COUNTED, MAX_NAMED = 500, 1_000, 1_000_000, 20
# Parameters of the list that choose a page of it, and none of its rows.
PAGING = ("p", "o", "all")

Order = dict[str, Any]
"""The work to do: `act` and its `options`; `query`, the query string of the list, on the admin site
`site`; `newest`, the creation time of the newest workflow to change; `user`, who asked; and `id`,
that of the workflow which was started for it."""
Progress = dict[str, Any]
"""The numbers `total`, `done` and `unchanged`; `named`, the ids and reasons of some unchanged ones;
`oldest`, the bound of a search without an index; and `after`, the place of the next page."""


@workflow(name=NAME)
def act_on_all(order: Order, progress: Progress | None = None) -> Progress:
    """Change all workflows that match, and return the numbers."""
    current = current_workflow()
    assert current is not None
    own = current.workflow_id
    if order["id"] != own:
        # The history would name somebody for changes that another one has ordered, who might lack
        # the permission for them.
        raise PermissionDenied(
            f"This is a copy of {order['id']!r}, which somebody else may have ordered: a fork of "
            "an action changes nothing. Choose the action in the list of workflows."
        )
    progress = progress or {"done": 0, "unchanged": 0, "named": [], **count(order, own)}
    set_event(PROGRESS, progress)
    for number in itertools.count(1):
        page = change_page(order, own, progress["oldest"], progress["after"])
        progress = _sum(progress, page)
        set_event(PROGRESS, progress)
        if progress["after"] is None:
            break
        if number == PAGES:
            continue_as_new(order, progress)
    return progress


def sign(workflow_id: str) -> None:
    """Note in a workflow that was just started that it is as it was ordered.

    The note has the workflow's token, which a rewind or a retry replaces.
    """
    row = rows_of(Workflow).filter(pk=workflow_id).only("token", "attributes").get()
    if SIGNED not in (row.attributes or {}):
        note = signing.dumps([workflow_id, str(row.token)], salt=NAME)
        WorkflowHandle[Any](workflow_id).set_attributes({SIGNED: note}, merge=True)


def _check_signed(own: str) -> None:
    """Raise PermissionDenied for a workflow that was rewound or retried: perhaps by another user.

    The history would name the one who ordered it, as for a fork.
    """
    row = rows_of(Workflow).filter(pk=own).only("token", "attributes").get()
    try:
        note = signing.loads((row.attributes or {}).get(SIGNED, ""), salt=NAME)
    except signing.BadSignature:
        note = None
    if note != [own, str(row.token)]:
        raise PermissionDenied(
            "This action was rewound or retried, perhaps by somebody else than the one who had "
            "ordered it, so it changes nothing more. Choose the action in the list of workflows."
        )


@step(name="count", max_attempts=5, retry_on=Error)
def count(order: Order, own: str) -> Progress:
    """Return how many workflows match, and the bound of the search."""
    _check_signed(own)
    found, oldest = _matching(order, own, None)
    return {"total": found.order_by()[:MOST_COUNTED].count(), "oldest": oldest, "after": None}


@step(name="change page", atomic=True, max_attempts=5, retry_on=Error)
def change_page(
    order: Order, own: str, oldest: datetime | None, after: tuple[datetime, str] | None
) -> Progress:
    """Change the next workflows; return the numbers, and the place of the page after them."""
    _check_signed(own)
    found, _ = _matching(order, own, oldest)
    if after is not None:
        created_at, workflow_id = after
        is_older = Q(created_at__lt=created_at)
        found = found.filter(created_at__lte=created_at)
        found = found.filter(is_older | Q(created_at=created_at, workflow_id__lt=workflow_id))
    rows = list(found.order_by("-created_at", "-workflow_id")[:PAGE])
    results, act = Results(), ACTS[order["act"]]
    change_batch(results, act, order["options"], rows, order["user"])
    last = rows[-1] if len(rows) == PAGE else None
    return {
        "done": results.done,
        "unchanged": len(results.unchanged),
        "named": results.unchanged[:MAX_NAMED],
        "after": None if last is None else (last.created_at, str(last.workflow_id)),
    }


def order_of(workflow_id: str) -> Order:
    """Return the order that a workflow carries out."""
    text = rows_of(Workflow).filter(pk=workflow_id).values_list("input_text", flat=True).get()
    order: Order = serializers.loads(text)["args"][0]
    return order


def may_act(user: Any, act: Act) -> bool:
    """Return whether a user may carry out an action on what the list shows."""
    needed = ("django_dbos.view_workflow", f"django_dbos.{act.permission}")
    return bool(user.is_active and user.has_perms(needed))


def applicable(found: Any, act: Act) -> Any:
    """Return those of the workflows that the action applies to."""
    fits = Q(status__in=sorted(act.statuses))
    return found.filter(fits | Q(is_quarantined=True) if act.is_for_quarantined else fits)


def _matching(order: Order, own: str, oldest: datetime | None) -> tuple[Any, datetime | None]:
    """Return the workflows of the order, as the list finds them, and the bound of its search.

    Raises:
        PermissionDenied: The user may no longer do this.
    """
    user = get_user_model()._default_manager.filter(pk=order["user"]).first()
    act = ACTS[order["act"]]
    if user is None or not may_act(user, act):
        raise PermissionDenied(f"User {order['user']!r} may no longer {order['act']} workflows.")
    request: Any = HttpRequest()
    request.method, request.user = "GET", user
    request.GET = _without_paging(order["query"])
    if oldest is not None:
        request.dbos_oldest = oldest
    rows, bound = _list(_admin_of(order["site"]), request)
    found = rows.filter(created_at__lte=order["newest"]).exclude(workflow_id=own)
    return applicable(found, act), bound


def _list(model_admin: Any, request: HttpRequest) -> tuple[Any, datetime | None]:
    """Return the rows of the list for a request, without reading any."""
    base = model_admin.get_changelist(request)
    unread = type("Unread", (base,), {"get_results": lambda self, request: None})
    found = unread(
        request=request,
        model=Workflow,
        list_display=model_admin.get_list_display(request),
        list_display_links=(),
        list_filter=model_admin.get_list_filter(request),
        date_hierarchy=None,
        search_fields=model_admin.get_search_fields(request),
        list_select_related=False,
        list_per_page=1,
        list_max_show_all=1,
        list_editable=(),
        model_admin=model_admin,
        sortable_by=(),
        search_help_text="",
    )
    return found.queryset, found.oldest


def _without_paging(query: str) -> QueryDict:
    given = QueryDict(query, mutable=True)
    for name in PAGING:
        given.pop(name, None)
    return given


def _admin_of(site_name: str) -> Any:
    """Return the admin of workflows on a site; one of the project's own is made by its URLs."""
    for is_imported in (False, True):
        if is_imported:
            import_module(settings.ROOT_URLCONF)
        for site in all_sites:
            if site.name == site_name and site.is_registered(Workflow):
                return site.get_model_admin(Workflow)
    raise DbosError(
        f"No admin site {site_name!r} with workflows is known to this worker. Create it in a "
        "module that the worker imports, such as the one of ROOT_URLCONF."
    )


def _sum(progress: Mapping[str, Any], page: Mapping[str, Any]) -> Progress:
    return {
        **progress,
        "done": progress["done"] + page["done"],
        "unchanged": progress["unchanged"] + page["unchanged"],
        "named": [*progress["named"], *page["named"]][:MAX_NAMED],
        "after": page["after"],
    }
