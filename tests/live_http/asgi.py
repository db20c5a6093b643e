"""The test project for a server in a process of its own, without websockets."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()
