"""The shop's pages and endpoints."""

from django.urls import path

from example_project.shop import views

app_name = "shop"
urlpatterns = [
    path("", views.catalogue, name="catalogue"),
    path("orders/", views.place_order, name="orders"),
    path("orders/<str:workflow_id>/", views.order, name="order"),
    path("payments/webhook/", views.payment_webhook, name="payment-webhook"),
    path("payments/<str:workflow_id>/", views.payment, name="payment"),
    path("imports/", views.imports, name="imports"),
    path("imports/<str:workflow_id>/", views.product_import, name="import"),
]
