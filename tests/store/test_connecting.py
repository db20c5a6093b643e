"""Connections of executors, and which databases have a store."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections

from django_dbos import store as store_module
from django_dbos.store import get_store
from django_dbos.store.base import Store


@pytest.mark.skipif(connection.vendor != "postgresql", reason="Django's parameters of PostgreSQL")
@pytest.mark.rule(43)
def test_own_connections_take_djangos_parameters_anew_at_every_connect(
    store: Store, executor_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = connections["default"]
    options = {**wrapper.settings_dict["OPTIONS"], "connect_timeout": 7}
    monkeypatch.setitem(wrapper.settings_dict, "OPTIONS", options)
    session: Any = store.connect(executor_id, "test")

    assert session.connection.info.get_parameters()["connect_timeout"] == "7"
    options["connect_timeout"] = 8
    session.connection.close()

    assert session.connection.info.get_parameters()["connect_timeout"] == "8"
    session.close()


def test_another_vendors_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connection._connections["default"]), "vendor", "oracle")
    monkeypatch.setattr(store_module, "_stores", {})

    with pytest.raises(ImproperlyConfigured, match="it is oracle"):
        get_store()


@pytest.mark.parametrize("vendor", sorted(store_module.VENDORS))
def test_a_registered_vendor_has_a_store(vendor: str) -> None:
    if vendor == "postgresql":
        pytest.importorskip("psycopg")

    made = store_module.VENDORS[vendor]("default")

    assert isinstance(made, Store)
    assert made.vendor == vendor
