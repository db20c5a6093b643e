"""A project without the URLs of django_dbos."""

urlpatterns: list[object] = []
