"""The versions and patches that unfinished workflows need, beside the overview."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import EngineAdmin, link
from django_dbos.admin.section import Rows
from django_dbos.admin.values import instant, whole
from django_dbos.core.registry import NEWEST
from django_dbos.operations import versions
from django_dbos.operations.versions import PatchUse, VersionUse
from django_dbos.store import get_store


class VersionsAdmin(EngineAdmin):
    """The page of versions."""

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the page."""
        view = self.admin_site.admin_view(self.versions_view)
        name = "django_dbos_workflow_versions"
        return [path("versions/", view, name=name), *super().get_urls()]

    def versions_view(self, request: HttpRequest) -> HttpResponse:
        """Return what is in use, and what may be removed; it counts all unfinished workflows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        store = get_store()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Versions"),
            "original": _("Versions"),
            "change": True,
            "has_view_permission": True,
            "sections": [
                self._versions(versions.read_versions(store)),
                _patches(versions.read_patches(store)),
            ],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/versions.html", context)

    def _versions(self, found: list[VersionUse]) -> Rows:
        return Rows(
            name="versions",
            title=_("Versions"),
            columns=(
                _("Function"),
                _("Version"),
                _("Live workers with it"),
                _("Active"),
                _("Quarantined"),
                _("Oldest"),
                _("State"),
            ),
            rows=[
                (
                    link(self._workflows(use.name), use.name),
                    _version(use),
                    use.workers,
                    whole(use.active),
                    whole(use.quarantined),
                    _start(use.oldest),
                    _state(use),
                )
                for use in found
            ],
            previous_url="",
            next_url="",
        )

    def _workflows(self, name: str) -> str:
        site = self.admin_site.name
        url = reverse("admin:django_dbos_workflow_changelist", current_app=site)
        return f"{url}?{urlencode({'name': name})}"


def _patches(found: list[PatchUse]) -> Rows:
    return Rows(
        name="patches",
        title=_("Patches"),
        columns=(
            _("Function"),
            _("Patch"),
            _("On the new path"),
            _("Without it"),
            _("Oldest without it"),
            _("State"),
        ),
        rows=[
            (
                use.name,
                use.patch,
                whole(use.marked),
                whole(use.unmarked),
                _start(use.oldest_unmarked),
                gettext("may become deprecate_patch()")
                if use.may_be_deprecated
                else gettext("in use"),
            )
            for use in found
        ],
        previous_url="",
        next_url="",
    )


def _start(oldest: datetime | None) -> str:
    return "" if oldest is None else instant(oldest).partition(".")[0]


def _version(use: VersionUse) -> str:
    if use.version is None:
        return gettext("none")
    return gettext("the newest") if use.version == NEWEST else use.version


def _state(use: VersionUse) -> Any:
    if use.is_stuck:
        return gettext("No live worker has this code.")
    if use.is_current:
        return gettext("current")
    return gettext("may be removed") if use.may_be_removed else gettext("in use")
