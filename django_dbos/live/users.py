"""The current users of readers: after a logout, or without their account, they are anonymous.

The checks of many readers at once read the sessions of the database, and the users, in one query
each. Readers with the same user share the object, and so its permissions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from django_dbos.live.readers import Reader

Session = Mapping[str, Any]


def reread_all(readers: Sequence[Reader]) -> None:
    """Replace the users of readers by the current ones, or by anonymous ones."""
    known = [one for one in readers if one.token is None and one.user.is_authenticated]
    for one in known:
        # A message over a socket is the first question of its reader.
        one.read_session()
    in_session = [one for one in known if one.has_session]
    users = _Users()
    sessions = _read_sessions({one.session.session_key: one.session for one in in_session}.values())
    users.read(session[SESSION_KEY] for session in sessions.values() if SESSION_KEY in session)
    for one in in_session:
        one.user = users.of_session(sessions.get(one.session.session_key, {}))
    others = [one for one in known if not one.has_session]
    users.read_again(one.user for one in others)
    for one in others:
        one.user = users.without_session(one.user)


def _read_sessions(sessions: Iterable[Any]) -> dict[str, Session]:
    """Return what is stored now of each session, by its key."""
    by_class: dict[Any, list[Any]] = defaultdict(list)
    for session in sessions:
        by_class[session.__class__].append(session)
    found: dict[str, Session] = {}
    for store, group in by_class.items():
        keys = [session.session_key for session in group]
        found |= _of_database(store, keys) if _is_of_database(store) else _of_store(store, keys)
    return found


def _is_of_database(store: Any) -> bool:
    """Return whether a class of sessions reads them as Django's sessions of the database do."""
    from django.contrib.sessions.backends.db import SessionStore

    return issubclass(store, SessionStore) and store.load is SessionStore.load


def _of_database(store: Any, keys: list[str]) -> dict[str, Session]:
    decoder = store()
    rows = store.get_model_class().objects.filter(
        session_key__in=keys, expire_date__gt=timezone.now()
    )
    return {row.session_key: decoder.decode(row.session_data) for row in rows}


def _of_store(store: Any, keys: list[str]) -> dict[str, Session]:
    return {key: dict(store(key).items()) for key in keys}


class _Users:
    """The users of a call, each read once."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], Any] = {}
        self._read_at_once: dict[str, Any] = {}
        self._read_again: dict[Any, dict[Any, Any]] = {}

    def read(self, ids: Iterable[str]) -> None:
        """Read at once the users whom Django's own backend would read one by one."""
        model = get_user_model()
        wanted = [model._meta.pk.to_python(text) for text in set(ids)]
        found = model._default_manager.filter(pk__in=wanted) if wanted else ()
        self._read_at_once = {model._meta.pk.value_to_string(user): user for user in found}

    def of_session(self, session: Session) -> Any:
        """Return the user of a session, as `django.contrib.auth.get_user`.

        That would change the session, and so log out a page which can't be told of the new one.
        """
        path, text = session.get(BACKEND_SESSION_KEY), session.get(SESSION_KEY)
        if text is None or path is None or path not in django_settings.AUTHENTICATION_BACKENDS:
            return AnonymousUser()
        if (path, text) not in self._by_key:
            self._by_key[path, text] = self._of_backend(path, text)
        user = self._by_key[path, text]
        is_current = user is not None and _is_verified(session.get(HASH_SESSION_KEY), user)
        return user if is_current else AnonymousUser()

    def _of_backend(self, path: str, text: str) -> Any:
        backend: Any = load_backend(path)
        if type(backend).get_user is not ModelBackend.get_user:
            return backend.get_user(get_user_model()._meta.pk.to_python(text))
        user = self._read_at_once.get(text)
        return user if user is not None and backend.user_can_authenticate(user) else None

    def read_again(self, users: Iterable[Any]) -> None:
        """Read at once the users whom something else than a session has authenticated."""
        keys: dict[Any, set[Any]] = defaultdict(set)
        for user in users:
            keys[user._meta.model].add(_key_of(user))
        self._read_again = {
            model: model._base_manager.in_bulk(wanted) for model, wanted in keys.items()
        }

    def without_session(self, user: Any) -> Any:
        """Return one of the users whom read_again() has read."""
        found = self._read_again[user._meta.model].get(_key_of(user))
        return found if found is not None and found.is_active else AnonymousUser()


def _key_of(user: Any) -> Any:
    return user._meta.pk.to_python(user.pk)


def _is_verified(found: str | None, user: Any) -> bool:
    """Return whether a session began with the user's current password."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    if not found:
        return False
    accepted = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return any(constant_time_compare(found, expected) for expected in accepted)
