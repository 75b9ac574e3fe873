"""Commands for development: `make run` starts the whole system, `make manage` runs a manage.py command."""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from playmatatu import devsettings
from playmatatu.devsettings import ROOT

STOP_SECONDS = 8
_PR_SET_PDEATHSIG = 1


class Stop(Exception):
    """Raised to end the program with a message. `code`: the exit code."""

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message)


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["manage"]:
            manage(arguments[1:])
        stopping = stop_signals()
        site, sandbox = port("PORT", 8000), port("SANDBOX_PORT", 8025)
        if site == sandbox:
            raise Stop(f"PORT and SANDBOX_PORT are both {site}; give two different ports.", 2)
        check_free(site, "PORT")
        check_free(sandbox, "SANDBOX_PORT")
        settings = devsettings.prepare(site, sandbox)
        set_up()
        with devsettings.remembered(settings):
            return run(site, sandbox, stopping)
    except Stop as stop:
        say(str(stop))
        return stop.code


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def port(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip() or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Stop(f"{name} must be a port number, not {text!r}.", 2)
    return int(text)


def check_free(number: int, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            raise Stop(f"Port {number} is busy; choose another one: make run {name}=…", 1) from None


def set_up() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)


def manage(arguments: list[str]) -> NoReturn:
    """Run a manage.py command with the settings of the running site.

    If no site is running, use the settings of `make run`.
    """
    if not devsettings.recall():
        devsettings.prepare(port("PORT", 8000), port("SANDBOX_PORT", 8025))
    os.execv(sys.executable, [sys.executable, str(ROOT / "manage.py"), *arguments])  # noqa: S606


def admin_login() -> str:
    """Return a line about the admin login. The first call creates the user and stores the password in a file."""
    from django.contrib.auth.models import User

    kept = devsettings.VAR / "admin-password"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(9))
    password = kept.read_text().strip()
    user, created = User.objects.get_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
    if created:
        user.set_password(password)
        user.save()
    elif not user.check_password(password):
        return "user admin, with the password that you set"
    return f"user admin, password {password}"


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    """Start a manage.py command. Its standard output is hidden. Its log and errors go to our stderr."""
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, preexec_fn=_die_with_us)


def _die_with_us() -> None:
    """Make Linux stop this child process when its parent ends, even after `kill -9` of the parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def stop_signals() -> list[int]:
    """Install signal handlers that append each received signal to a list. Return this list."""
    received: list[int] = []
    # A program that a shell script started with `&` ignores SIGINT by default, so SIGINT needs a handler too.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda number, _frame: received.append(number))
    return received


def run(site: int, sandbox: int, stopping: list[int]) -> int:
    login = admin_login()
    if stopping:
        return 0
    children = {
        "sandbox": start("dmark_sandbox", "--port", str(sandbox)),
        "site": start("runserver", "--noreload", "--skip-checks", f"127.0.0.1:{site}"),
        "game worker": start("game_worker"),
    }
    if os.environ.get("SMS_DELIVERY") == "worker":
        children["SMS worker"] = start("sms_worker")
    try:
        wait_until(lambda: bool(stopping) or (answers(site) and answers(sandbox)), children)
        if not stopping:
            say(f"\n  Play:   http://127.0.0.1:{site}/")
            say(f"  Phones: http://127.0.0.1:{sandbox}/   payment prompts and SMS. Demo: no money moves")
            say(f"  Admin:  http://127.0.0.1:{site}/admin/   {login}")
            say(f"  API:    http://127.0.0.1:{site}/api/docs")
            say("  Ctrl-C stops everything.\n")
        wait_until(lambda: bool(stopping), children, seconds=None)
    finally:
        stop(list(children.values()))
    say("Stopped.")
    return 0


def answers(number: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) == 0


def wait_until(
    condition: Callable[[], bool], children: "dict[str, subprocess.Popen[bytes]]", seconds: float | None = 60
) -> None:
    end = time.monotonic() + (seconds or 0)
    while not condition():
        for name, child in children.items():
            if child.poll() is not None and not condition():
                raise Stop(f"The {name} ended by itself (exit code {child.returncode}); stopping the rest.", 1)
        if seconds is not None and time.monotonic() > end:
            raise Stop(f"The site did not answer within {seconds:.0f} s.", 1)
        time.sleep(0.1)


def stop(children: "list[subprocess.Popen[bytes]]") -> None:
    for child in children:
        child.terminate()
    end = time.monotonic() + STOP_SECONDS
    for child in children:
        try:
            child.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
