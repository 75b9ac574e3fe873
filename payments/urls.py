"""URLs that are not part of the JSON API, because that API only accepts JSON."""

from django.urls import path

from payments.webhooks import dmarkpay

app_name = "payments"
urlpatterns = [path("dmarkpay/<str:signed_id>/", dmarkpay, name="dmarkpay")]
