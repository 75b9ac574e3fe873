"""Projects that use the app: their own tests, a package of theirs named `sms`, and a worker without pycurl."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from sms import conf
from tests import preloaded
from tests.conftest import Sandbox

ROOT = Path(__file__).parents[2]
PYTEST = ("-q", "-p", "pytest_django.plugin", "-p", "playmatatu_sms_pytest")
SETTINGS = """
SECRET_KEY = "x" * 50
INSTALLED_APPS = ["sms"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SMS_SERVICE_BASE_URL = "https://sms.example.com"
SMS_SERVICE_USERNAME, SMS_SERVICE_PASSWORD = "real", "credentials"
"""
MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "adopter_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
TESTS = """
from django.test import TestCase
from sms.outbox import queue_sms
from sms.testing import assert_texted, texts

class Tests(TestCase):
    def test_off(self):
        message = queue_sms("0772123456", "nobody gets this")
        assert (message.status, "sms.testing" in message.error) == ("disabled", True)

    def test_on(self):
        with texts() as sent, self.captureOnCommitCallbacks(execute=True):
            queue_sms("0772123456", "the sandbox gets this")
        assert_texted("0772123456", "the sandbox gets this")
        assert [message.status for message in sent] == ["sent"]

    def test_a_commit_after_the_block_sends_nothing(self):
        with self.captureOnCommitCallbacks(execute=True):
            with texts() as sent:
                queue_sms("0772123456", "waits")
                assert sent[0].status == "queued"
        assert sent[0].status == "cancelled"
"""


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("/init", "/__init__")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".py").write_text(content)


def run(folder: Path, *arguments: str, path: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        # pytest would load each plugin that is installed here.
        env={"PYTHONPATH": path or str(ROOT), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_djangos_test_runner_sends_nothing_for_real(tmp_path: Path) -> None:
    write(tmp_path, adopter_settings=SETTINGS, manage=MANAGE, tests=TESTS)
    ended = run(tmp_path, "manage.py", "test")
    assert "Ran 3 tests" in ended.stderr, ended.stderr
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("url", "enabled"),
    [("https://sms.example.com", False), ("http://127.0.0.1:8025", True), ("http://localhost:8025/", True)],
)
def test_sms_is_on_in_tests_only_for_a_provider_on_this_machine(monkeypatch: Any, url: str, enabled: bool) -> None:
    with override_settings(SMS_SERVICE_BASE_URL=url, SMS_SERVICE_USERNAME="u", SMS_SERVICE_PASSWORD="p"):
        assert conf.current().enabled is enabled
        monkeypatch.setattr(conf, "in_test_run", lambda: False)
        assert conf.current().enabled


def test_pytest_starts_in_a_project_with_a_package_sms_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, sms__init="", test_own="import sms\n\ndef test_own():\n    assert 'own' in sms.__file__")
    folder = tmp_path.rename(tmp_path.with_name("own-project"))
    ended = run(folder, "-m", "pytest", *PYTEST, path=f"{folder}:{ROOT}")
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_the_fixtures_say_that_the_package_is_another(tmp_path: Path) -> None:
    write(tmp_path, sms__init="", test_own="def test_own(sms_sandbox):\n    pass")
    ended = run(tmp_path, "-m", "pytest", *PYTEST, path=f"{tmp_path}:{ROOT}")
    assert "is not playmatatu-sms" in ended.stdout


@pytest.mark.django_db  # Django's check of JSON fields queries the database
def test_another_package_with_the_same_name_is_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    assert not [check for check in run_checks() if check.id == "sms.E008"]
    write(tmp_path, sms__init="")
    monkeypatch.syspath_prepend(tmp_path)
    [found] = [check for check in run_checks() if check.id == "sms.E008"]
    assert str(tmp_path / "sms") in found.msg


QUEUE = "from sms.outbox import queue_sms; [queue_sms(f'077212345{number}', 'hello') for number in range({})]"


def test_a_worker_without_pycurl(tmp_path: Path, sandbox: Sandbox) -> None:
    """Without pycurl, `sms_worker --once` sends one message after the other."""
    settings = SETTINGS.replace(":memory:", "db.sqlite3").replace("https://sms.example.com", sandbox.url)
    settings += "SMS_DELIVERY, SMS_RATE_LIMIT_SECONDS = 'worker', 0\nUSE_TZ = True\n"
    missing = "raise ImportError('No module named pycurl')"
    write(tmp_path, adopter_settings=settings, manage=MANAGE, pycurl=missing)
    migrate = "from django.core.management import call_command; call_command('migrate', verbosity=0); "
    run(tmp_path, "manage.py", "shell", "-v0", "-c", migrate + QUEUE.replace("{}", "3"))
    ended = run(tmp_path, "manage.py", "sms_worker", "--once")
    assert "done" in ended.stdout, ended.stderr
    assert "pycurl is not installed" in ended.stdout
    assert len(sandbox.inbox()) == 3
    run(tmp_path, "manage.py", "shell", "-v0", "-c", QUEUE.replace("{}", "2"))
    sandbox.faults(token="401", send="401")
    ended = run(tmp_path, "manage.py", "sms_worker", "--once")
    assert ended.returncode == 1
    assert "Sending is paused: DMark refuses" in ended.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        states = database.execute("SELECT status, count(*) FROM sms_smsmessage GROUP BY status").fetchall()
    assert dict(states) == {"queued": 2, "sent": 3}
    ended = run(tmp_path, "manage.py", "sms_worker")
    assert ended.returncode == 1
    assert "The worker needs pycurl 7.48 or newer: pip install 'playmatatu-sms[worker]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bad_setting_ends_commands_in_one_sentence(tmp_path: Path) -> None:
    write(tmp_path, adopter_settings=SETTINGS + "SMS_RATE_LIMIT_SECONDS = 'soon'\n", manage=MANAGE)
    manage = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{MANAGE}"
    for arguments in (["sms_worker", "--once"], ["send_test_sms", "0772123456"]):
        ended = preloaded.run(["-c", manage, *arguments], env={"PATH": ""})
        assert ended.returncode == 1
        assert "SMS_RATE_LIMIT_SECONDS must be a number, 0 or more, not 'soon'." in ended.stderr
        assert "Traceback" not in ended.stderr
