"""The address that DMark reports to."""

from django.urls import path

from sms import views

app_name = "sms"
urlpatterns = [path("dlr/<str:signed_id>/", views.delivery_report, name="dlr")]
