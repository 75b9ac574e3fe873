"""Start Python processes that have already imported the libraries, which takes a third of the CPU of a normal start. A
process of the site has already imported the site too, and takes a tenth.

A template process imports the libraries, and forks for each start. A second template, forked from the first one, also
imports the site. It then forgets the settings, so that the new process reads the settings of its own environment.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
# Importing these modules does not read the settings.
_LIBRARIES = """
    django.conf.urls.i18n django.contrib.admin.filters django.contrib.admin.sites django.contrib.admin.views.main
    django.contrib.auth.apps django.contrib.contenttypes.apps django.contrib.messages.middleware
    django.contrib.staticfiles.apps django.core.handlers.wsgi
    django.core.management.commands.migrate django.core.management.commands.shell django.core.servers.basehttp
    django.db.backends.postgresql.base django.db.backends.sqlite3.base django.middleware.clickjacking
    django.middleware.http django.middleware.locale django.middleware.security django.template.backends.django
    django.views.decorators.http django.views.defaults django_redis.client environ gunicorn.app.wsgiapp
    gunicorn.workers.gthread jwt phonenumbers phonenumbers.data prometheus_client psycopg psycopg_binary pycurl
    pydantic pydantic.json_schema redis requests whitenoise.middleware
""".split()
_SITE = """
    corsheaders.middleware django.contrib.auth.views django.contrib.sessions.backends.db django.middleware.common
    django.core.cache.backends.locmem game.management.commands.expire_queue game.management.commands.game_worker
    playmatatu.logs playmatatu.middleware playmatatu.urls sms.console.overview sms.management.commands.sms_worker
    sms.worker.worker
""".split()
_SITE_SETTINGS = "playmatatu.settings"
# Settings that the import reads and that each process applies again. Django's signals read DEBUG.
_APPLIED_AGAIN = {"DATABASES", "DEBUG", "LOGGING", "LOGGING_CONFIG"}
_LONGEST_REQUEST = 1 << 17
# The template sends two numbers of this width: the process id, and later the exit status.
_WIDTH = 16


class Process:
    """A started process, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        start_new_session: bool = False,
        template: "Callable[[], socket.socket] | None" = None,
    ) -> None:
        """Run Python in the project's root folder.

        `arguments`: a file, `-m` and a module, or `-c` and code, followed by its own arguments. `stdout` and `stderr`:
        a file, subprocess.DEVNULL, or None for the output of this process. `stderr` may be subprocess.STDOUT.
        """
        if template is None:
            template = _site_template if env.get("DJANGO_SETTINGS_MODULE") == _SITE_SETTINGS else _template
        self.args = list(arguments)
        self.returncode: int | None = None
        request = json.dumps([self.args, dict(env), start_new_session]).encode()
        assert len(request) < _LONGEST_REQUEST
        self._ended, ended = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)

        def number(file: int | IO[bytes] | None, own: int) -> int:
            if isinstance(file, int):
                return null if file == subprocess.DEVNULL else file
            return own if file is None else file.fileno()

        try:
            out = number(stdout, 1)
            files = [number(stdin, 0), out, out if stderr == subprocess.STDOUT else number(stderr, 2), ended]
            socket.send_fds(template(), [request], files)
        finally:
            os.close(null)
            os.close(ended)
        self.pid = int(os.read(self._ended, _WIDTH))

    def poll(self) -> int | None:
        """Return the exit code (negative after a signal), or None if the process still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends, and return its exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int(os.read(self._ended, _WIDTH)))
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], timeout: float = 120, check: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run Python until it ends, and return its output, as subprocess.run does."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = Process(arguments, env=env, stdout=out, stderr=err)
        try:
            process.wait(timeout)
        finally:
            process.kill()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    ended = subprocess.CompletedProcess(process.args, process.wait(), *texts)
    if check:
        ended.check_returncode()
    return ended


@lru_cache(maxsize=1)
def _template() -> socket.socket:
    """Start the template process. The template ends when this process closes the socket."""
    return _started(lambda number: subprocess.Popen([sys.executable, "-m", __name__], cwd=ROOT, stdin=number))


@lru_cache(maxsize=1)
def _site_template() -> socket.socket:
    command = ["-m", __name__, "site"]
    return _started(lambda number: Process(command, env=os.environ, stdin=number, template=_template))


def _started(start: "Callable[[int], subprocess.Popen[bytes] | Process]") -> socket.socket:
    """Start a template with one end of a socket as its standard input. Return the other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = start(theirs.fileno())

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _import_site() -> dict[str, object]:
    """Import the site. Return the settings that the import has read, and forget all settings and connections."""
    import django
    from django.conf import settings
    from django.db import connections
    from django.utils.functional import empty

    os.environ |= {"DJANGO_SETTINGS_MODULE": _SITE_SETTINGS, "DEBUG": "true"}
    settings.LOGGING_CONFIG = None
    django.setup()
    for name in _SITE:
        importlib.import_module(name)
    # The object keeps each setting that was read.
    read = {name: value for name, value in vars(settings).items() if name.isupper() and name not in _APPLIED_AGAIN}
    settings._wrapped = empty
    del sys.modules[_SITE_SETTINGS]
    vars(connections).clear()
    vars(connections).update(vars(type(connections)()))
    return read


def _have_changed(read: dict[str, object]) -> bool:
    """Return True if a setting has another value than during the import."""
    from django.conf import settings

    with contextlib.suppress(Exception):  # If a setting is invalid, the program itself reports it.
        return any(getattr(settings, name) != value for name, value in read.items())
    return False


def _serve(requests: socket.socket, *, site: bool) -> list[str]:
    """Fork for each request. Only the new processes return from this function, with Python's arguments."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    read = _import_site() if site else {}
    gc.freeze()
    # An interrupt from the terminal ends the tests, not the template.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wakes)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            _report_ended(running)
        if requests.fileno() in ready:
            request, files, _, _ = socket.recv_fds(requests, _LONGEST_REQUEST, 4)
            if not request:
                os._exit(0)
            if not (pid := os.fork()):
                for number in (requests.detach(), woken, wakes, *running.values()):
                    os.close(number)
                arguments = _begin(request, files)
                if _have_changed(read):
                    os.execv(sys.executable, [sys.executable, *arguments])
                return arguments
            running[pid] = files.pop()
            os.write(running[pid], b"%*d" % (_WIDTH, pid))
            for number in files:
                os.close(number)


def _report_ended(running: dict[int, int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):  # The tests no longer wait for this process.
                os.write(running[pid], b"%*d" % (_WIDTH, status))
            os.close(running.pop(pid))


def _begin(request: bytes, files: list[int]) -> list[str]:
    """Give this fork the signals, files and environment of a fresh process. Return Python's arguments."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments, environment, new_session = json.loads(request)
    if new_session:
        os.setsid()
    for own, number in enumerate(files[:3]):
        os.dup2(number, own)
    for number in files:
        os.close(number)
    os.environ.clear()
    os.environ.update(environment)
    return list(arguments)


def _execute(arguments: list[str]) -> None:
    sys.argv = arguments
    if sys.argv[0] == "-c":
        exec(compile(sys.argv.pop(1), "<string>", "exec"), {"__name__": "__main__"})
    elif sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    try:
        _execute(_serve(socket.socket(fileno=os.dup(0)), site=sys.argv[1:] == ["site"]))
        status = 0
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        status = end.code or 0
    # End as Python does, except that Python would also delete all objects, which takes 50 ms of CPU.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)
