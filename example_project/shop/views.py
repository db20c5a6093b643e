"""The shop over HTTP: each view starts a workflow, sends it a message, or shows its progress."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import constant_time_compare, get_random_string
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

import django_dbos as dbos
from django_dbos.models import Workflow
from example_project.shop import conf
from example_project.shop.forms import ImportForm, OrderForm, PaymentForm, cleaned
from example_project.shop.http import (
    RefusalError,
    answer_refusals,
    csrf_exempt_for,
    read_fields,
    read_json,
    wants_json,
)
from example_project.shop.models import Import, ImportBatch, Order, Product
from example_project.shop.orders import order_id
from example_project.shop.product_files import MalformedFileError, Row, read_products
from example_project.shop.workflows import checkout, import_products

# The values of the event "status" that have more than one word.
STATUS_LABELS = {"awaiting_payment": "awaiting payment", "out_of_stock": "out of stock"}


@never_cache
@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    """Show the products, each with a form to order it."""
    query = request.GET.get("q", "").replace("\0", "").strip()
    products = Product.objects.filter(Q(name__icontains=query) | Q(sku__icontains=query))
    context = {
        "page": Paginator(products, 24).get_page(request.GET.get("page")),
        "query": query,
        # A form sent twice is one order.
        "idempotency_key": get_random_string(32),
    }
    return render(request, "shop/catalogue.html", context)


@csrf_exempt_for("application/json")
@transaction.non_atomic_requests
@require_POST
@answer_refusals
def place_order(request: HttpRequest) -> HttpResponse:
    """Start a checkout; the same customer's same idempotency key is the same order."""
    asked = cleaned(OrderForm(read_fields(request)))
    if not Product.objects.filter(sku=asked["sku"]).exists():
        raise RefusalError(404, f"There is no product with the SKU '{asked['sku']}'.")

    workflow_id = order_id(request, asked["idempotency_key"])
    page = request.build_absolute_uri(reverse("shop:payment", args=[workflow_id]))
    handle = checkout.using(workflow_id=workflow_id, user=request.user).start(
        asked["sku"], asked["quantity"], page
    )
    if wants_json(request):
        return answer_order(handle)
    return redirect("shop:order", workflow_id)


def answer_order(handle: dbos.WorkflowHandle[Any]) -> JsonResponse:
    """Wait for the workflow's payment URL."""
    order = {"workflow_id": handle.workflow_id, "payment_url": None}
    try:
        payment_url = handle.get_event("payment_url", timeout=conf.get("SHOP_ANSWER_SECONDS"))
    except dbos.WaitTimeout:
        detail = "The order is accepted; no worker has come to it yet. Look at its page later."
        return JsonResponse({**order, "detail": detail}, status=202)
    if payment_url is None:
        raise RefusalError(409, "There aren't that many left.", **order)
    return JsonResponse({**order, "payment_url": payment_url}, status=201)


@never_cache
@require_safe
@answer_refusals
def order(request: HttpRequest, workflow_id: str) -> HttpResponse:
    """Show the state of an order: a page that updates itself, or JSON."""
    workflow = find_workflow(workflow_id, checkout.name, "order")
    state = state_of(workflow)
    if wants_json(request):
        return JsonResponse(state)
    kill = conf.get("SHOP_KILL_COMMAND")
    context = {**state, **summary_of(workflow), "kill_command": kill}
    return render_live(request, "shop/order.html", context)


def summary_of(workflow: Workflow) -> dict[str, Any]:
    """Return the ordered product from the workflow's input: the order's row may not exist yet."""
    sku, quantity, _ = workflow.input["args"]
    product = Product.objects.filter(sku=sku).first()
    placed = Order.objects.filter(workflow_id=workflow.pk).first()
    price = product.price * quantity if product else ""
    return {
        "quantity": quantity,
        "product": product.name if product else sku,
        "total": placed.total if placed else price,
    }


@csrf_exempt
@require_POST
@answer_refusals
def payment_webhook(request: HttpRequest) -> JsonResponse:
    """Receive the outcome of a payment, perhaps more than once."""
    check_signature(request)
    payment = cleaned(PaymentForm(read_json(request)))
    settle_payment(payment["workflow_id"], payment["status"])
    return JsonResponse(payment)


def check_signature(request: HttpRequest) -> None:
    secret = conf.get("SHOP_WEBHOOK_SECRET")
    if not secret and settings.DEBUG:
        return
    if not secret:
        raise RefusalError(403, "SHOP_WEBHOOK_SECRET isn't set, so nobody can sign a payment.")
    expected = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
    if not constant_time_compare(expected, request.headers.get("X-Signature", "")):
        raise RefusalError(403, "The header 'X-Signature' doesn't match the body.")


def settle_payment(workflow_id: str, status: str) -> None:
    """Notify the order once per status: a repeat is the same message."""
    find_workflow(workflow_id, checkout.name, "order")
    dbos.send(workflow_id, {"status": status}, topic="payment", idempotency_key=f"payment:{status}")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@answer_refusals
def payment(request: HttpRequest, workflow_id: str) -> HttpResponse:
    """Imitate the payment provider's page: its buttons act as the webhook does.

    Everyone who knows an order's id could pay it here, so the page exists only with DEBUG.
    """
    if not settings.DEBUG:
        raise Http404
    if request.method == "POST":
        payment = cleaned(PaymentForm({**request.POST.dict(), "workflow_id": workflow_id}))
        settle_payment(workflow_id, payment["status"])
        return redirect("shop:order", workflow_id)
    state = state_of(find_workflow(workflow_id, checkout.name, "order"))
    placed = Order.objects.filter(workflow_id=workflow_id).first()
    badge = as_words(state["events"].get("status", state["status"]))
    return render(request, "shop/payment.html", {**state, "order": placed, "badge_text": badge})


@csrf_exempt_for("text/csv")
@never_cache
@transaction.non_atomic_requests
@require_http_methods(["GET", "HEAD", "POST"])
@answer_refusals
def imports(request: HttpRequest) -> HttpResponse:
    """Take a CSV file of products, as a form's upload or as the body itself."""
    if request.method != "POST":
        context = {"form": ImportForm(), "imports": Import.objects.all()[:10]}
        return render(request, "shop/imports.html", context)

    file_name, rows = read_upload(request)
    handle = start_import(file_name, rows, request.user)
    if wants_json(request):
        url = request.build_absolute_uri(reverse("shop:import", args=[handle.workflow_id]))
        answer = {"workflow_id": handle.workflow_id, "rows": len(rows), "url": url}
        return JsonResponse(answer, status=201)
    return redirect("shop:import", handle.workflow_id)


def read_upload(request: HttpRequest) -> tuple[str, list[Row]]:
    files: Any = request.FILES
    if request.content_type == "text/csv":
        files = {"file": ContentFile(request.body, name="upload.csv")}
    file = cleaned(ImportForm(files=files))["file"]
    try:
        return file.name, read_products(file.read())
    except MalformedFileError as error:
        mistakes = [asdict(mistake) for mistake in error.mistakes]
        raise RefusalError(400, f"Nothing was imported. {error}", mistakes=mistakes) from error


def start_import(file_name: str, rows: list[Row], user: Any) -> dbos.WorkflowHandle[Any]:
    """Store the rows and start their workflow: both, or neither."""
    size = conf.get("SHOP_IMPORT_BATCH_SIZE")
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    with transaction.atomic():
        upload = Import.objects.create(file_name=file_name[:100], row_count=len(rows))
        ImportBatch.objects.bulk_create(
            ImportBatch(of_import=upload, number=number, rows=batch)
            for number, batch in enumerate(batches)
        )
        workflow_id = str(upload.pk)
        return import_products.using(workflow_id=workflow_id, user=user).start(
            workflow_id, len(batches), len(rows)
        )


@never_cache
@require_safe
@answer_refusals
def product_import(request: HttpRequest, workflow_id: str) -> HttpResponse:
    """Show the state of an import: a page with a progress bar, or JSON."""
    state = state_of(find_workflow(workflow_id, import_products.name, "import"))
    if wants_json(request):
        return JsonResponse(state)
    upload = Import.objects.get(pk=workflow_id)
    return render_live(request, "shop/import.html", {**state, "upload": upload})


def render_live(request: HttpRequest, template: str, state: dict[str, Any]) -> HttpResponse:
    """Render a page that follows its workflow: with the tags of django_dbos, which read it."""
    context = {**state, "badge_text": as_words(state["status"]), "status_labels": STATUS_LABELS}
    return render(request, template, context)


def as_words(status: str) -> str:
    return status.lower().replace("_", " ")


def find_workflow(workflow_id: str, name: str, noun: str) -> Workflow:
    """Return the workflow with this id (a UUID) and function; raise RefusalError without one."""
    found = Workflow.objects.filter(pk=workflow_id, name=name)
    if is_uuid(workflow_id) and (workflow := found.first()):
        return workflow
    raise RefusalError(404, f"There is no {noun} '{workflow_id[:100]}'.")


def is_uuid(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value
    except ValueError:
        return False


def state_of(workflow: Workflow) -> dict[str, Any]:
    """Return the state of a workflow that is shown to everyone who knows its id."""
    succeeded = workflow.status == Workflow.Status.SUCCESS
    return {
        "workflow_id": workflow.pk,
        "status": workflow.status,
        "events": dbos.get_all_events(workflow.pk),
        "result": workflow.handle.get_result(timeout=0) if succeeded else None,
    }
