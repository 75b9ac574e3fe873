"""The whole service as processes on one machine: sites, workers and the sandbox. Each can be killed and restarted."""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import requests

from benchmarks.common import alive, cpu_seconds
from benchmarks.tls import COMMAND, make_certificate
from tests.servers import Postgres, RedisServer, free_port, wait_for

MANAGE = [sys.executable, "manage.py"]
SECRET = "a-secret-for-this-load"
# Seconds by which the clocks of `--hosts` are wrong, one for each process.
CLOCKS = (0, 45, -45, 600, -600, 7, -3)


class Service:
    """The processes by name, and their database.

    `tree`: the checkout from which they run. `former`: the checkout of a former release, which runs alone first.
    `upgrade` then starts processes from `tree` beside it.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        postgres: Postgres,
        cache: RedisServer,
        tree: Path,
        former: "Path | None" = None,
    ) -> None:
        self.options, self.tree, self.former = options, former or tree, former
        self.newer = tree
        assert cache.process is not None
        self.servers = {postgres.pid: "postgres", cache.process.pid: "redis"}
        name = postgres.create_database(f"load{time.monotonic_ns()}").rpartition("/")[2]
        # Over the Unix socket, as docs/scale.md recommends for one machine.
        self.database = f"postgres://postgres@/{name}?host={postgres.folder}&port={postgres.port}"
        self.sandbox = f"http://127.0.0.1:{free_port()}"
        self.sites = [f"http://127.0.0.1:{free_port()}" for _ in range(options.sites)]
        self.folder = Path(tempfile.mkdtemp(prefix="playmatatu-load-"))
        self.locks_held = self.folder / "held"
        self.environment = {
            **os.environ,
            "LOCKS_HELD": str(self.locks_held),
            "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
            "DEBUG": "false",
            "SECRET_KEY": "k" * 50,
            "ALLOWED_HOSTS": "127.0.0.1",
            "SITE_URL": self.sites[0],
            "FRONTEND_URL": self.sites[0],
            "DATABASE_URL": self.database,
            "REDIS_URL": cache.url,
            "SMS_DELIVERY": "worker",
            "SMS_SERVICE_BASE_URL": self.sandbox,
            "SMS_SERVICE_USERNAME": "u",
            "SMS_SERVICE_PASSWORD": "p",
            "SMS_RATE_LIMIT_SECONDS": "0",
            "SMS_LEASE_SECONDS": "5",
            "MOMO_AUTO_APPROVE": "false",
            "MOMO_CALLBACK_SECRET": SECRET,
            "UNPAID_STAKES_PER_ADDRESS_HOUR": "1000000",
            "INVITES_PER_ADDRESS_HOUR": "1000000",
            "LOG_LEVEL": "ERROR",
            "WEB_CONCURRENCY": "2",
            "PYTHONWARNINGS": "ignore:No directory at",
        }
        # DMarkPay is asked over TLS. Former commits do not have the module that trusts the sandbox's certificate.
        self.tls = options.money == "dmarkpay" and all(
            (folder / "benchmarks" / "tls.py").exists() for folder in (self.tree, self.newer)
        )
        if self.tls:
            make_certificate(self.folder)
            self.environment |= {"TLS_FOLDER": str(self.folder), "TLS_PORT": str(free_port())}
        if options.money == "dmarkpay":
            self.environment |= {
                "DMARK_PAY_BASE_URL": f"https://localhost:{self.environment['TLS_PORT']}" if self.tls else self.sandbox,
                "DMARK_PAY_USERNAME": "collector",
                "DMARK_PAY_PASSWORD": "a-password-for-this-load",
                "DMARK_PAY_ACCOUNT_CODE": "ACC-77",
            }
        self.commands: dict[str, list[str]] = {
            "sandbox": [*self._command(), "dmark_sandbox", "--port", self.sandbox.rpartition(":")[2]]
        }
        self._add_commands(self.sites)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: Counter[str] = Counter()
        self.manage("migrate", "-v0")

    def _add_commands(self, sites: list[str], suffix: str = "") -> None:
        for number, site in enumerate(sites):
            command = [sys.executable, "-m", "gunicorn", "-b", site.removeprefix("http://"), "--log-level", "error"]
            if self.options.threads:
                command += ["--threads", str(self.options.threads)]
            # Former commits lack the module that measures the locks.
            application = ["benchmarks.held"] if (self.tree / "benchmarks" / "held.py").exists() else []
            self.commands[f"site-{number}{suffix}"] = [*command, "--access-logfile", os.devnull, *application]
        for number in range(self.options.workers):
            self.commands[f"sms-{number}{suffix}"] = [*MANAGE, "sms_worker"]
        for number in range(self.options.game_workers):
            self.commands[f"game-{number}{suffix}"] = [*self._command(), "game_worker"]

    def _command(self) -> list[str]:
        return COMMAND if self.tls else MANAGE

    def upgrade(self) -> None:
        """Migrate with the newer release, and start its sites and workers beside the running ones."""
        self.tree = self.newer
        migrated = self.manage("migrate", "-v0")
        if migrated.returncode:
            raise SystemExit(f"The migrations fail on the tables of the former release: {migrated.stderr[-1000:]}")
        before, sites = set(self.commands), [f"http://127.0.0.1:{free_port()}" for _ in self.sites]
        self.environment |= {"SITE_URL": sites[0], "FRONTEND_URL": sites[0]}
        self._add_commands(sites, "-newer")
        for name in set(self.commands) - before:
            self.start(name)
        for site in sites:
            wait_for(partial(alive, f"{site}/api/v1/config"), 60)
        self.sites += sites

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._command(), *arguments],
            cwd=self.tree,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def start(self, name: str) -> None:
        command, environment = self.commands[name], dict(self.environment)
        if self.options.hosts and name != "sandbox":
            offset = CLOCKS[list(self.commands).index(name) % len(CLOCKS)]
            environment |= {"DJANGO_SETTINGS_MODULE": "benchmarks.wrong_clock", "CLOCK_OFFSET": str(offset)}
            command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', f"host-{name}", *command]
        environment["PGAPPNAME"] = name.partition("-")[0]
        self.processes[name] = subprocess.Popen(
            command, cwd=self.tree, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def start_all(self) -> None:
        for name in self.commands:
            self.start(name)
        for url in (f"{self.sandbox}/counts.json", *(f"{site}/api/v1/config" for site in self.sites)):
            wait_for(partial(alive, url), 60)

    def kill(self, name: str) -> None:
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    def kill_one(self) -> None:
        name = random.choice([name for name in self.commands if name != "sandbox"])
        self.kill(name)
        self.kills[name] += 1
        self.start(name)

    def stop(self) -> None:
        for name in self.processes:
            self.kill(name)
        shutil.rmtree(self.folder)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each kind of process has used, including its children.

        PostgreSQL's backends are listed by the kind of their client. Backends whose connection was closed, and
        PostgreSQL's own processes, count as `postgres`.
        """
        kinds = {process.pid: name.partition("-")[0] for name, process in self.processes.items()}
        clients = self.sql("SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database()")
        backends = {pid: f"postgres for {name}" for pid, name in clients if name in kinds.values()}
        return {**cpu_seconds(kinds | self.servers | backends), "players": time.process_time()}

    def lock_times(self) -> list[float]:
        """Return the milliseconds for which each transaction held a stake level, if the sites measure them."""
        return [float(line) for line in self.locks_held.read_text().split()] if self.locks_held.exists() else []

    def counts(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.sandbox}/counts.json", timeout=30).json())
