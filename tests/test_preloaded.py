"""A process that is forked from a template behaves like one that Python has started."""

import os

import pytest

from tests.preloaded import Process, run

_READ = """
import django
django.setup()
from django.conf import settings
from django.db import connection
from django.utils.translation import gettext
print(gettext("Yes"), settings.SITE_URL, connection.settings_dict["NAME"], connection.vendor)
"""


@pytest.mark.parametrize(("language", "yes"), [("en", "Yes"), ("sw", "Ndiyo")])
def test_it_reads_its_own_settings(language: str, yes: str) -> None:
    """The site template has loaded the translations for `en`."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
        "DEBUG": "true",
        "LANGUAGE_CODE": language,
        "SITE_URL": "http://there",
        "DATABASE_URL": "postgres://127.0.0.1/there",
    }
    ended = run(["-c", _READ], env=environment, check=True)
    assert ended.stdout == f"{yes} http://there there postgresql\n"


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit('a reason')", 1, "a reason"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 15)", -15, ""),
    ],
)
def test_it_ends_as_python_ends(code: str, status: int, error: str) -> None:
    ended = run(["-c", f"import atexit, threading; atexit.register(print, 'exit'); {code}"], env=os.environ)
    assert (ended.returncode, ended.stderr.strip().rpartition("\n")[2]) == (status, error)
    assert ended.stdout == ("exit\n" if status >= 0 else "")


def test_it_waits_for_its_threads() -> None:
    code = "import threading; threading.Timer(0.2, print, ['the thread has ended']).start()"
    assert run(["-c", code], env=os.environ, check=True).stdout == "the thread has ended\n"


def test_it_can_be_polled_and_killed() -> None:
    process = Process(["-c", "import time; time.sleep(60)"], env=os.environ)
    assert process.poll() is None
    process.kill()
    assert process.wait(10) == -9
