"""Writes data/products.csv, the sample catalogue: the same 3,000 products every time."""

from __future__ import annotations

import csv
import random
from pathlib import Path

COUNT = 3_000
SIZES = ["small", "medium", "large", "extra large", "set of 2", "set of 4", "set of 6"]
COLOURS = [
    "Ash grey",
    "Brick red",
    "Cream",
    "Forest green",
    "Indigo",
    "Mustard",
    "Natural",
    "Slate",
]
# Things, what they are made of, and their lowest and highest prices.
THINGS = [
    ("apron", ["linen", "canvas", "denim"], 18, 60),
    ("basket", ["willow", "rattan", "seagrass", "wire"], 15, 90),
    ("bowl", ["stoneware", "olive-wood", "enamel", "porcelain"], 9, 70),
    ("bread box", ["beech", "enamel", "bamboo"], 35, 95),
    ("brush", ["horsehair", "coconut-fibre", "boar-bristle"], 5, 28),
    ("candlestick", ["brass", "cast-iron", "glass"], 12, 80),
    ("coffee mill", ["walnut", "steel", "cast-iron"], 45, 160),
    ("cushion", ["wool", "linen", "cotton", "velvet"], 19, 75),
    ("doormat", ["coir", "jute", "rubber"], 14, 55),
    ("jug", ["glass", "stoneware", "copper"], 16, 85),
    ("lamp", ["brass", "paper", "oak", "ceramic"], 39, 240),
    ("notebook", ["leather", "linen", "cardboard"], 6, 45),
    ("plate", ["porcelain", "stoneware", "enamel"], 7, 40),
    ("rug", ["wool", "cotton", "jute"], 49, 480),
    ("shelf", ["oak", "pine", "steel"], 29, 220),
    ("stool", ["beech", "oak", "cork"], 45, 190),
    ("storage jar", ["glass", "stoneware", "tin"], 6, 38),
    ("tea towel", ["linen", "cotton", "hemp"], 7, 26),
    ("teapot", ["cast-iron", "porcelain", "glass"], 24, 130),
    ("throw", ["wool", "cotton", "mohair"], 39, 210),
    ("tray", ["beech", "lacquer", "steel"], 17, 75),
    ("vase", ["glass", "stoneware", "terracotta"], 12, 110),
    ("watering can", ["zinc", "copper", "enamel"], 22, 98),
    ("wine rack", ["oak", "steel", "pine"], 34, 150),
]


def products() -> list[tuple[str, str, str, int]]:
    kinds = [
        (thing, material, colour, size, lowest, highest)
        for thing, materials, lowest, highest in THINGS
        for material in materials
        for colour in COLOURS
        for size in SIZES
    ]
    chance = random.Random(20240229)
    rows = []
    for number, kind in enumerate(sorted(chance.sample(kinds, COUNT)), 1):
        thing, material, colour, size, lowest, highest = kind
        name = f"{colour} {material} {thing}, {size}"
        price = chance.randrange(lowest * 2, highest * 2) / 2 - 0.05
        sku = f"{thing.upper().replace(' ', '')[:6]}-{number:05}"
        rows.append((sku, name, f"{price:.2f}", min(int(chance.paretovariate(0.9) * 8), 5000)))
    return rows


def main() -> None:
    path = Path(__file__).parent / "data" / "products.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sku", "name", "price", "stock"])
        writer.writerows(products())


if __name__ == "__main__":
    main()
