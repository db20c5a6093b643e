"""Products can be edited; orders and imports are their workflows' business and only shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from example_project.shop.models import Import, Order, Product
from example_project.shop.workflows import refund

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("sku", "name", "price", "stock")
    search_fields = ("sku", "name")


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("workflow_id", "sku", "quantity", "total", "status", "created_at")
    list_filter = ("status",)
    search_fields = ("workflow_id", "sku")
    actions = ("ask_for_refund",)

    @admin.action(description="Ask for a refund", permissions=["view"])
    def ask_for_refund(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        """Start a workflow per order, which then waits for somebody who may approve it."""
        for order in queryset.filter(status=Order.Status.FULFILLED):
            options = refund.using(workflow_id=f"refund-{order.workflow_id}", user=request.user)
            handle = options.start(order.workflow_id, f"Asked for by {request.user}.")
            self.message_user(request, f"{handle.workflow_id} waits for an approval.")


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    list_display = ("id", "file_name", "row_count", "created_at")
