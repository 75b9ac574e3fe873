"""The URLconf of a project that does not include `sms.urls`."""

urlpatterns: list[object] = []
