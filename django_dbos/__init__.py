"""Durable workflows for Django: `import django_dbos as dbos`."""

__version__ = "0.1.0"
