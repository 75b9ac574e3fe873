"""A project that has not mounted `sms.urls`."""

urlpatterns: list[object] = []
