"""A Celery task for comparison. It reads a message's row, sends the message with `requests`, and writes the result."""

import os

import django
import requests
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "playmatatu.settings")
django.setup()

from django.utils import timezone  # noqa: E402

from sms.models import SmsMessage  # noqa: E402

app = Celery("peer", broker=os.environ["CELERY_BROKER"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    # With the default, Celery would open a database connection for each task.
    django_db_reuse_max=100_000,
    worker_hijack_root_logger=False,
)
app.conf["CELERY_DB_REUSE_MAX"] = 100_000
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
URL = os.environ["SMS_SERVICE_BASE_URL"] + "/v3/api/send_sms/"


@app.task(name="deliver")
def deliver(pk: int) -> None:
    message = SmsMessage.objects.get(pk=pk)
    body = {"msg": message.text, "numbers": "0772123456", "dlr_url": "", "scan_ip": False}
    answer = session.post(URL, json=body, headers={"authToken": "opaque-token"}, timeout=(3, 10)).json()
    SmsMessage.objects.filter(pk=pk, status="queued").update(
        status="sent", provider_id=str(answer["Detail"][0]["msg_id"]), sent_at=timezone.now()
    )
