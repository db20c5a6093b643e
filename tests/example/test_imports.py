"""Imports of products: read as a whole before anything starts, written batch by batch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

import django_dbos as dbos
import example_project
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from example_project.make_products import products
from example_project.shop.models import Import, ImportBatch, Product
from tests.example.conftest import get_json

pytestmark = pytest.mark.django_db

SAMPLE = Path(example_project.__file__).parent / "data" / "products.csv"
HEADER = "sku,name,price,stock\n"


def upload(client: Client, content: str | bytes, **options: Any) -> Any:
    return client.post("/imports/", content, content_type="text/csv", **options)


def test_the_sample_is_imported_batch_by_batch(client: Client, kettle: Product) -> None:
    response = upload(client, SAMPLE.read_bytes())
    run_until_idle()

    workflow_id = response.json()["workflow_id"]
    state = get_json(client, f"/imports/{workflow_id}/").json()
    progress = list(dbos.read_stream(workflow_id, "progress", wait=False))
    assert response.status_code == 201
    assert state["status"] == "SUCCESS"
    assert state["events"] == {"status": "imported"}
    assert state["result"] == {"created": 3000, "updated": 0}
    assert [entry["done"] for entry in progress] == list(range(100, 3001, 100))
    assert Product.objects.count() == 3001
    assert not ImportBatch.objects.exists()


def test_known_products_are_updated(client: Client, kettle: Product) -> None:
    response = upload(client, HEADER + "KETTLE,Big kettle,59.5,3\nPAN,Pan,20,1\n")
    run_until_idle()

    state = get_json(client, f"/imports/{response.json()['workflow_id']}/").json()
    kettle.refresh_from_db()
    assert state["result"] == {"created": 1, "updated": 1}
    assert (kettle.name, str(kettle.price), kettle.stock) == ("Big kettle", "59.50", 3)


def test_a_form_leads_to_a_page_with_a_progress_bar(strict_client: Client, db: None) -> None:
    strict_client.get("/imports/")
    token = strict_client.cookies["csrftoken"].value
    file = SimpleUploadedFile("two.csv", (HEADER + "A,a,1,1\nB,b,1,1\n").encode())

    response = strict_client.post(
        "/imports/", {"file": file, "csrfmiddlewaretoken": token}, follow=True
    )

    page = response.content.decode()
    assert response.redirect_chain == [(f"/imports/{Import.objects.get().pk}/", 302)]
    assert '<progress class="dbos-bar" aria-label="Products imported" max="2">' in page
    assert "two.csv" in page


def test_a_form_without_its_token_is_refused(strict_client: Client, db: None) -> None:
    file = SimpleUploadedFile("one.csv", (HEADER + "A,a,1,1\n").encode())

    assert strict_client.post("/imports/", {"file": file}).status_code == 403
    assert not Import.objects.exists()


def test_a_csv_body_needs_no_token(strict_client: Client, db: None) -> None:
    assert upload(strict_client, HEADER + "A,a,1,1\n").status_code == 201


def test_a_malformed_file_starts_nothing(client: Client, db: None) -> None:
    response = upload(client, HEADER + "A,a,1,1\nB,b,cheap,-1\n")

    assert response.status_code == 400
    assert "Line 3, price" in response.json()["error"]
    assert [(m["line"], m["column"]) for m in response.json()["mistakes"]] == [
        (3, "price"),
        (3, "stock"),
    ]
    assert not Import.objects.exists()
    assert not Workflow.objects.exists()
    assert not Product.objects.exists()


def test_a_browser_sees_what_is_wrong_on_a_page(client: Client, db: None) -> None:
    file = SimpleUploadedFile("bad.csv", (HEADER + "A,,<b>,1\n").encode())

    response = client.post("/imports/", {"file": file}, headers={"Accept": "text/html"})

    page = response.content.decode()
    assert response.status_code == 400
    assert "&lt;b&gt;" in page
    assert "<td>2</td>" in page


@pytest.mark.parametrize("file", [None, "not a file"])
def test_a_form_without_a_file_is_refused(client: Client, db: None, file: str | None) -> None:
    response = client.post("/imports/", {"file": file} if file else {})

    assert response.status_code == 400
    assert list(response.json()["errors"]) == ["file"]


def test_an_empty_file_is_malformed(client: Client, db: None) -> None:
    file = SimpleUploadedFile("empty.csv", b"")

    response = client.post("/imports/", {"file": file})

    assert response.status_code == 400
    assert response.json()["mistakes"][0]["line"] == 1


def test_a_file_that_is_too_large_is_refused(client: Client, db: None, settings: Any) -> None:
    settings.SHOP_IMPORT_MAX_BYTES = 100

    response = upload(client, HEADER + "A,a,1,1\n" * 20)

    assert response.status_code == 413
    assert "100" in response.json()["error"]


def test_a_body_over_djangos_own_limit_is_refused(client: Client, db: None, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    assert upload(client, HEADER + "A,a,1,1\n" * 20).status_code == 413


def test_an_import_that_cannot_be_started_leaves_no_rows(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("example_project.shop.views.import_products.using", fail)

    with pytest.raises(RuntimeError):
        upload(client, HEADER + "A,a,1,1\n")
    assert not Import.objects.exists()


def test_the_sample_is_what_its_generator_writes() -> None:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))

    assert rows[1:] == [[*map(str, product)] for product in products()]
    assert len({sku for sku, *_ in rows[1:]}) == 3000
