"""The address that DMark reports to."""

from django.urls import path

from sms.dlr import view

app_name = "sms"
urlpatterns = [path("dlr/<str:signed_id>/", view.delivery_report, name="dlr")]
