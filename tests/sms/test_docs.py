"""Check docs/sms-app.md (code, commands and settings) and the diagram in docs/message-states.md."""

import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.utils import timezone
from django.utils.text import capfirst

from sms import clock, conf, outbox
from sms.dlr import statuses
from sms.errors import SmsError
from sms.models import SmsMessage, SmsPause, SmsSuppression, Status
from sms.sending import pauses
from sms.sending.attempt import Result
from sms.sending.claims import claim, free_leases_over_before
from sms.sending.results import record
from sms.testing import Sandbox

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sms-app.md").read_text()


def test_the_code_runs_as_a_project(tmp_path: Path) -> None:
    files: dict[str, str] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        name = block.splitlines()[0].removeprefix("# ")
        files[name] = files.get(name, "") + block
    assert set(files) == {
        "settings.py", "urls.py", "orders/texts.py", "orders/codes.py", "orders/apps.py", "test_orders.py", "tests.py"
    }  # fmt: skip
    files["pytest.ini"] = (
        "[pytest]\nDJANGO_SETTINGS_MODULE = settings\naddopts = -p playmatatu_sms_pytest -p no:cacheprovider\n"
    )
    files["orders/__init__.py"] = ""
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:randomly",
            "-p",
            "no:schemathesis",
            "test_orders.py",
            "tests.py",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in ended.stdout, ended.stdout + ended.stderr


def test_each_command_exists() -> None:
    named = set(re.findall(r"manage\.py (\w+)((?: --?[\w-]+(?: [\d]+)?)*)", PAGE))
    assert {name for name, _ in named} >= {"sms_worker", "poll_dlr", "prune_sms", "send_test_sms", "dmark_sandbox"}
    for name, options in named:
        app = get_commands()[name]
        parser = load_command_class(app, name).create_parser("manage.py", name) if isinstance(app, str) else None
        assert parser is not None
        for option in re.findall(r"--[\w-]+", options):
            assert option in parser._option_string_actions, f"{name} {option}"


def test_the_admins_lists_have_the_names_that_the_page_gives() -> None:
    for model in (SmsMessage, SmsPause, SmsSuppression):
        assert f"*{capfirst(model._meta.verbose_name_plural)}*" in PAGE


def test_each_setting_is_in_the_table() -> None:
    source = "".join((ROOT / "sms" / name).read_text() for name in ("conf.py", "text/redaction.py"))
    read = set(re.findall(r'"(SMS_[A-Z_]+|SITE_URL)"', source))
    table = PAGE[PAGE.index("## Settings") : PAGE.index("## Test")]
    assert read == set(re.findall(r"^\|.*$", table, re.MULTILINE) and re.findall(r"`(SMS_[A-Z_]+|SITE_URL)`", table))


# --- diagram of the statuses

NEW = "[*]"
ANSWERS = (
    Status.SENT, Status.QUEUED, Status.FAILED, Status.RATE_LIMITED, Status.EXPIRED, Status.DISABLED, Status.UNKNOWN,
)  # fmt: skip
WORDS = ("DELIVERED", "FAILED", "PENDING", "")


def answered(status: Status) -> Callable[[SmsMessage], object]:
    def act(message: SmsMessage) -> None:
        reason = None if status == Status.SENT else SmsError("why")
        record([Result(message, status, timezone.now(), reason)])

    return act


def reported(word: str) -> Callable[[SmsMessage], object]:
    return lambda message: statuses.record_report(message.pk, word, "push")


ACTS: list[Callable[[SmsMessage], object]] = [
    lambda message: claim(uuid.uuid4().hex, 10, 15.0, message.pk),
    lambda message: free_leases_over_before(clock.read()),
    lambda message: pauses.cancel(message.pk, "operator", "no longer true"),
    lambda message: outbox.resend(SmsMessage.objects.filter(pk=message.pk), "operator"),
    *map(answered, ANSWERS),
    *map(reported, WORDS),
]


@pytest.mark.django_db
def test_the_diagram_shows_every_change_of_status_and_no_other(sandbox: Sandbox) -> None:
    """Try each action on a message in each status, with and without an earlier ambiguous request."""
    drawn = set(re.findall(r"^    (\S+) --> (\w+)", (ROOT / "docs" / "message-states.md").read_text(), re.MULTILINE))
    seen = {(NEW, str(Status.SENDING))}  # `send_sms` inserts the row as `sending`
    for status in Status:
        for attempts in (0, 1):
            for act in ACTS:
                message = SmsMessage.objects.create(
                    phone="+256772123456",
                    text="x",
                    status=status,
                    attempts=attempts,
                    ambiguous_requests=attempts,
                    claim="mine" if status == Status.SENDING else "",
                    lease_until=timezone.now() - timedelta(seconds=1) if status == Status.SENDING else None,
                    expires_at=timezone.now() + timedelta(seconds=conf.current().life),
                )
                act(message)
                became = SmsMessage.objects.get(pk=message.pk).status
                if became != status:
                    seen.add((str(status), became))
    seen |= {(NEW, outbox.queue_sms("0772123456", "x").status)}
    SmsSuppression.objects.create(phone="+256772123457", reason="complained")
    seen |= {(NEW, outbox.queue_sms("0772123457", "x").status)}
    SmsPause.objects.create(reason="why", actor="operator")
    with pytest.raises(SmsError):
        outbox.send_sms("0772123458", "x")
    seen |= {(NEW, SmsMessage.objects.latest("pk").status)}
    assert drawn - {(NEW, "disabled")} == seen


@pytest.mark.django_db
def test_a_message_queued_while_sms_is_off_is_disabled() -> None:
    assert outbox.queue_sms("0772123456", "x").status == "disabled"
