"""The URLs that DMark calls: delivery reports and inbound messages."""

from django.urls import path

from sms.dlr.view import delivery_report
from sms.inbound import inbound

app_name = "sms"
urlpatterns = [
    path("dlr/<str:signed_id>/", delivery_report, name="dlr"),
    path("inbound/<str:secret>/", inbound, name="inbound"),
]
