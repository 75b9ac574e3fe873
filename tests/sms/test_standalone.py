"""The `sms` app alone in a project, without environment variables."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import Sandbox

PROJECT = """
import sys
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x" * 50,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[2]}},
    INSTALLED_APPS=["sms"],
    SITE_URL="https://example.com",
    SMS_SERVICE_BASE_URL=sys.argv[1] + "/",
    SMS_SERVICE_USERNAME="u",
    SMS_SERVICE_PASSWORD="p",
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("check")
from django.db import transaction
from sms.models import SmsMessage
from sms.outbox import queue_sms, send_sms
print(send_sms("0772123456", "now").status)
with transaction.atomic():
    queued = queue_sms("0772123457", "after commit", kind="greeting")
    print(queued.status)
print(SmsMessage.objects.get(pk=queued.pk).status)
call_command("send_test_sms", "0772123458")
"""


def test_a_project_of_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROJECT, sandbox.url, str(tmp_path / "db.sqlite3")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if "check" not in line] == ["sent", "queued", "sent", "sent"]
    assert [item["text"] for item in reversed(sandbox.inbox())][:2] == ["now", "after commit"]
