"""Users of workflows: the rows behind the pks."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError


def find_user(user_id: str | None) -> Any:
    """Return the user with a pk; None without one, and for a text that is no user's pk."""
    if user_id is None:
        return None
    # Imported when needed: it would add a third to the time of importing the package.
    from django.contrib.auth import get_user_model

    try:
        return get_user_model()._default_manager.filter(pk=user_id).first()
    except (TypeError, ValueError, ValidationError):
        # The pk is "system", for example, or belongs to a user model that has been replaced.
        return None
