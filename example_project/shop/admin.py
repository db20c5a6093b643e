"""Products can be edited; orders and imports are their workflows' business and only shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from example_project.shop.models import Import, Order, Product

if TYPE_CHECKING:
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


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    list_display = ("id", "file_name", "row_count", "created_at")
