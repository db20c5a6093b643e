"""The shop's tables beside those of its workflows."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q


class ProductQuerySet(models.QuerySet["Product"]):
    def take(self, sku: str, quantity: int) -> bool:
        """Take a quantity off the shelf if it is there: in one statement, without a race."""
        in_stock = self.filter(sku=sku, stock__gte=quantity)
        return in_stock.update(stock=F("stock") - quantity) == 1

    def give_back(self, sku: str, quantity: int) -> None:
        """Put a quantity back on the shelf."""
        self.filter(sku=sku).update(stock=F("stock") + quantity)


class Product(models.Model):
    sku = models.CharField("SKU", max_length=40, unique=True)
    name = models.CharField(max_length=200)
    price = models.DecimalField(
        max_digits=10, decimal_places=2, validators=[MinValueValidator(Decimal("0.01"))]
    )
    stock = models.PositiveIntegerField(default=0)

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"


class Order(models.Model):
    """Reserved goods, written by the atomic steps of a checkout and by nothing else."""

    class Status(models.TextChoices):
        RESERVED = "reserved"
        FULFILLED = "fulfilled"
        CANCELLED = "cancelled"

    # Unique: were a step to run twice after all, it would fail here rather than sell twice.
    workflow_id = models.CharField("workflow", max_length=255, unique=True)
    sku = models.CharField("SKU", max_length=40)
    quantity = models.PositiveIntegerField()
    total = models.DecimalField(max_digits=12, decimal_places=2)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.RESERVED)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(condition=Q(quantity__gte=1), name="shop_order_quantity"),
        )

    def __str__(self) -> str:
        return f"{self.quantity} of {self.sku}"


class Import(models.Model):
    """A file of products that is being imported; the workflow has the same id."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    file_name = models.CharField(max_length=100)
    row_count = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.file_name


class ImportBatch(models.Model):
    """Some rows of an import that aren't imported yet: importing them deletes them."""

    of_import = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    rows = models.JSONField()

    class Meta:
        ordering = ("of_import", "number")
        constraints = (
            models.UniqueConstraint(fields=("of_import", "number"), name="shop_import_batch"),
        )

    def __str__(self) -> str:
        return f"{self.of_import_id} {self.number}"
