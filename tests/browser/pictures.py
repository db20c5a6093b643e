"""Pictures of the main pages, for people to look at; the folder is no part of the project."""

from __future__ import annotations

from pathlib import Path

from tests.browser.chromium import Chromium

FOLDER = Path(__file__).parents[2] / ".screenshots"
# The looks of a picture: width, height, and what its user prefers.
LOOKS = {
    "light": (1280, 900, "light"),
    "dark": (1280, 900, "dark"),
    "phone": (390, 844, "light"),
    "phone-dark": (390, 844, "dark"),
}
# Longer pages are cut off.
TALLEST = 1_700


def take(browser: Chromium, url: str, name: str) -> None:
    """Save a picture of a page in each look, and check that nothing lies beside the screen."""
    FOLDER.mkdir(exist_ok=True)
    for look, (width, height, scheme) in LOOKS.items():
        browser.resize(width, height)
        browser.prefer(prefers_color_scheme=scheme)
        browser.go(url)
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth"), look
        whole = int(browser.run("document.body.scrollHeight"))
        browser.resize(width, min(max(height, whole), TALLEST))
        browser.save_picture(FOLDER / f"{name}-{look}.png")
