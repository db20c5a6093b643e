"""manage.py dbos_skills: copies the rules for coding assistants into a folder."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

import django_dbos

SKILLS = Path(django_dbos.__file__).parent / "skills"
# The folder that an assistant knows the skill by; SKILL.md gives the same name.
NAME = "django-dbos"


class Command(BaseCommand):
    """Installs or updates one folder, and touches nothing beside it."""

    help = (
        "Copies the rules for writing durable workflows, one page a rule, into DIR/django-dbos, "
        "where a coding assistant reads them. Run it again after an upgrade."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the folder."""
        parser.add_argument(
            "folder", metavar="DIR", type=Path, help="The assistant's folder of skills."
        )

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        """Copy the pages; pages of an older release that no longer exist are removed."""
        target = folder / NAME
        if target.exists() and not (target / "SKILL.md").is_file():
            raise CommandError(
                f"{target} exists and isn't a copy of the skill: it has no SKILL.md. "
                "Move it away, or name another folder."
            )
        if target.is_symlink():
            raise CommandError(f"{target} is a link. Name the folder that it leads to.")
        try:
            if target.exists():
                shutil.rmtree(target)
            shutil.copytree(SKILLS, target, ignore=shutil.ignore_patterns("__pycache__"))
        except OSError as error:
            raise CommandError(f"{target} can't be written: {error}") from error
        pages = len(list(target.glob("references/*.md")))
        self.stdout.write(f"{pages} rules are in {target}.")
