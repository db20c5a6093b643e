"""Fills the shelves for a demo, as often as you like."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from example_project.shop.models import Product

PRODUCTS = [
    ("KETTLE-1", "Enamel kettle, 1.5 l", "49.00", 120),
    ("PAN-24", "Cast-iron pan, 24 cm", "64.50", 80),
    ("MUG-BLUE", "Stoneware mug, blue", "14.00", 400),
    ("KNIFE-20", "Carbon-steel chef's knife, 20 cm", "89.00", 45),
    ("BOARD-OAK", "Oak chopping board", "38.00", 150),
    ("LAMP-DESK", "Brass desk lamp", "129.00", 30),
    ("BLANKET-W", "Wool blanket, 200 cm", "96.00", 60),
    ("BROOM-1", "Horsehair broom", "27.50", 200),
    ("PENCIL-12", "Cedar pencils, box of 12", "9.90", 1000),
    ("CLOCK-WALL", "Wall clock, wound by hand", "74.00", 25),
    ("BOTTLE-08", "Steel bottle, 0.8 l", "31.00", 300),
    ("LAST-ONE", "The very last umbrella", "45.00", 1),
]


class Command(BaseCommand):
    help = "Create the demo's products and, with DEBUG on, its superuser admin/admin."

    def handle(self, *args: Any, **options: Any) -> None:
        for sku, name, price, stock in PRODUCTS:
            defaults = {"name": name, "price": Decimal(price), "stock": stock}
            Product.objects.get_or_create(sku=sku, defaults=defaults)
        if settings.DEBUG:
            self.create_superuser()
        self.stdout.write(f"{Product.objects.count()} products are in the shop.")

    def create_superuser(self) -> None:
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", password="admin")
