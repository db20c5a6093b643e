"""Decides which workflows a browser may follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from example_project.shop import workflows

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from django_dbos.models import Workflow

PUBLIC_WORKFLOWS = {workflows.checkout.name, workflows.import_products.name}
PUBLIC_KEYS = {("stream", "progress"), ("event", "status")}


def can_read(
    user: AbstractBaseUser | AnonymousUser, workflow: Workflow, kind: str, key: str | None
) -> bool:
    """Allow everyone who has the random id of an order or an import to follow its progress."""
    return workflow.name in PUBLIC_WORKFLOWS and (kind, key) in PUBLIC_KEYS
