"""A shop on durable workflows: the example project of django_dbos."""
