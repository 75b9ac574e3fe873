"""Addresses beside the JSON API, which refuses what is not JSON."""

from django.urls import path

from payments.webhooks.notification import dmarkpay

app_name = "payments"
urlpatterns = [path("dmarkpay/<str:signed_id>/", dmarkpay, name="dmarkpay")]
