from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from sms.outbox import queue_sms


def hello(request: HttpRequest, phone: str) -> HttpResponse:
    message = queue_sms(phone, "Hello from my own project.", kind="hello")
    return HttpResponse(f"Message {message.pk} leaves when this request has committed.\n")


urlpatterns = [path("hello/<str:phone>/", hello), path("sms/", include("sms.urls"))]
