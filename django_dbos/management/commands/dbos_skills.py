"""manage.py dbos_skills: copies the rules for coding assistants to a folder."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

import django_dbos

SKILLS = Path(django_dbos.__file__).parent / "skills"
# The name of the folder, which is also the name of the skill in SKILL.md.
NAME = "django-dbos"


class Command(BaseCommand):
    """Installs or updates one folder, and changes nothing outside it."""

    help = (
        "Copies the rules for writing durable workflows, one page per rule, to DIR/django-dbos for "
        "a coding assistant. Run it again after an upgrade."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the argument."""
        parser.add_argument(
            "folder", metavar="DIR", type=Path, help="The folder with the assistant's skills."
        )

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        """Copy the pages, and remove those of older releases that no longer exist."""
        target = folder / NAME
        if target.exists() and not (target / "SKILL.md").is_file():
            raise CommandError(
                f"{target} exists but isn't a copy of the skill: it has no SKILL.md. Move it away, "
                "or choose another folder."
            )
        if target.is_symlink():
            raise CommandError(f"{target} is a symbolic link. Use the folder that it points to.")
        try:
            if target.exists():
                shutil.rmtree(target)
            shutil.copytree(SKILLS, target, ignore=shutil.ignore_patterns("__pycache__"))
        except OSError as error:
            raise CommandError(f"{target} can't be written: {error}.") from error
        pages = len(list(target.glob("references/*.md")))
        self.stdout.write(f"{pages} rules are in {target}.")
