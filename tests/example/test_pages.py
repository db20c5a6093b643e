"""The catalogue, the admin, and what all pages have in common."""

from __future__ import annotations

import re
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

from django_dbos.testing import run_until_idle
from example_project.shop.models import Product
from tests.example.conftest import pay, place_order

pytestmark = pytest.mark.django_db


def list_skus(client: Client, path: str = "/") -> list[str]:
    return re.findall(r'data-sku="([^"]*)"', client.get(path).content.decode())


def test_the_catalogue_lists_the_products(client: Client) -> None:
    call_command("seed_demo", stdout=StringIO())

    skus = list_skus(client)

    assert skus == list(Product.objects.values_list("sku", flat=True))
    assert "KETTLE-1" in skus


def test_seeding_again_changes_nothing(client: Client, settings: Any) -> None:
    settings.DEBUG = True
    call_command("seed_demo", stdout=StringIO())
    Product.objects.filter(sku="KETTLE-1").update(stock=1)

    call_command("seed_demo", stdout=StringIO())

    assert Product.objects.get(sku="KETTLE-1").stock == 1
    assert client.login(username="admin", password="admin")


def test_there_is_no_demo_superuser_outside_of_debug(client: Client, settings: Any) -> None:
    settings.DEBUG = False

    call_command("seed_demo", stdout=StringIO())

    assert not get_user_model().objects.exists()


def test_the_catalogue_searches_and_turns_pages(client: Client, kettle: Product) -> None:
    Product.objects.bulk_create(
        Product(sku=f"PAN-{n}", name="Pan", price=Decimal(1), stock=1) for n in range(30)
    )

    assert len(list_skus(client)) == 24
    assert len(list_skus(client, "/?page=2")) == 7
    assert list_skus(client, "/?q=kett") == ["KETTLE"]
    assert list_skus(client, "/?q=%00&page=x") == list_skus(client)
    assert list_skus(client, "/?q=nothing") == []


def test_no_page_holds_inline_scripts_or_styles(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]
    run_until_idle()
    upload = client.post(
        "/imports/", "sku,name,price,stock\nA,a,1,1\n", content_type="text/csv"
    ).json()
    paths = ["/", f"/orders/{workflow_id}/", f"/payments/{workflow_id}/", "/imports/"]

    for path in [*paths, upload["url"]]:
        page = client.get(path).content.decode()
        assert not re.search(r"<style|\bstyle=|\bon\w+=|javascript:", page)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
        assert "//" not in "".join(re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]*)"', page))


def test_the_admin_shows_what_the_shop_stores(admin_client: Client, kettle: Product) -> None:
    workflow_id = place_order(admin_client).json()["workflow_id"]
    run_until_idle()
    pay(admin_client, workflow_id)
    run_until_idle()

    for model in ("product", "order", "import"):
        assert admin_client.get(f"/admin/shop/{model}/").status_code == 200
    assert admin_client.get("/admin/shop/order/add/").status_code == 403


def test_the_page_of_an_order_says_how_to_kill_the_worker(client: Client, settings: Any) -> None:
    Product.objects.create(sku="MUG", name="Mug", price=Decimal(9), stock=3)
    workflow_id = place_order(client, sku="MUG").json()["workflow_id"]
    page = f"/orders/{workflow_id}/"
    assert "kill" not in client.get(page).content.decode()

    settings.SHOP_KILL_COMMAND = "kill -9 $(cat .demo/worker.pid)"

    assert "<code>kill -9 $(cat .demo/worker.pid)</code>" in client.get(page).content.decode()


def test_the_page_of_an_order_says_what_was_ordered_before_a_worker_came(client: Client) -> None:
    Product.objects.create(sku="MUG", name="Blue mug", price=Decimal(9), stock=3)
    workflow_id = place_order(client, sku="MUG").json()["workflow_id"]

    shown = client.get(f"/orders/{workflow_id}/").content.decode()

    assert "Blue mug <strong>€ 18.00</strong>" in shown


def test_a_refused_import_leads_back_to_the_import(client: Client) -> None:
    refused = client.post("/imports/", {}, headers={"Accept": "text/html"}).content.decode()

    assert 'href="/imports/">Back to the import' in refused
