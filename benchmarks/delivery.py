"""Rate, CPU per message, latency and the cost of a large table, compared with Celery and with the limits.

`make bench` installs the programs for comparison, and starts PostgreSQL, Redis and the provider. It takes a few
minutes. All parts run on one machine, so only the ratios count.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
import requests

from benchmarks.common import ROOT, alive, say, tidy_when_told_to_end
from tests.servers import Postgres, RedisServer, free_port, postgres_programs, redis_program, wait_for

THREADS = 64
# Single runs differ by 10% and more on a machine with two cores.
ROUNDS = 3
INSERT = """
INSERT INTO sms_smsmessage (phone, text, kind, status, dedupe_key, provider_id, attempts, retries, error, created_at,
    due_at, expires_at, claim)
SELECT '+2567' || lpad((n %% 90000000)::text, 8, '0'), repeat('text ', 15), %s, %s, NULL, '', 0, 0, '',
    now() - n * interval '1 second' * %s, now() - interval '1 minute', now() + interval '1 hour', ''
FROM generate_series(1, %s) n
"""


class Bench:
    def __init__(self, postgres: Postgres, cache: RedisServer) -> None:
        self.postgres, self.redis = postgres, cache
        self.database = postgres.create_database(f"bench_{time.time_ns()}")
        self.port = free_port()
        self.threads = 0
        self.provider_url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "playmatatu.settings",
            "DEBUG": "false",
            "SECRET_KEY": "k" * 50,
            "MOMO_CALLBACK_SECRET": "s",
            "MOMO_AUTO_APPROVE": "true",
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATABASE_URL": self.database,
            "REDIS_URL": cache.url,
            "CELERY_BROKER": cache.url.replace("/0", "/1"),
            "CELERY_DB_REUSE_MAX": "100000",
            "SMS_SERVICE_BASE_URL": self.provider_url,
            "SMS_SERVICE_USERNAME": "u",
            "SMS_SERVICE_PASSWORD": "p",
            "SMS_DELIVERY": "worker",
            "SMS_RATE_LIMIT_SECONDS": "0",
            "LOG_LEVEL": "INFO",
        }
        self.manage("migrate", "-v0")

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, check=True)

    def sql(self, statement: str, *values: Any) -> Any:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

    def fill(self, count: int, status: str = "queued") -> None:
        self.sql(INSERT, "match_found", status, 0 if status == "queued" else 2.5, count)

    def clear(self) -> None:
        self.sql("TRUNCATE sms_smsmessage, sms_smsevent RESTART IDENTITY CASCADE")

    @contextmanager
    def provider(self, milliseconds: float) -> Iterator[None]:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.provider", str(self.port), str(milliseconds)], cwd=ROOT
        )
        try:
            self.wait(lambda: self.stats() is not None)
            yield
        finally:
            process.kill()
            process.wait()

    def stats(self) -> "dict[str, float] | None":
        try:
            return dict(requests.get(f"{self.provider_url}/stats", timeout=2).json())
        except requests.RequestException:
            return None

    @staticmethod
    def wait(condition: Any) -> None:
        wait_for(condition, 120.0, every=0.05)

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def drained(self, count: int, *processes: "subprocess.Popen[bytes]") -> tuple[float, float]:
        """Return messages a second, from the first to the last request, and CPU milliseconds per message."""
        self.stats()
        self.wait(lambda: self.sql("SELECT count(*) FROM sms_smsmessage WHERE status = 'queued'") != [(count,)])
        before = [cpu(process.pid) for process in processes]
        started = self.sql("SELECT count(*) FROM sms_smsmessage WHERE status = 'sent'")[0][0]
        self.wait(lambda: self.sql("SELECT count(*) FROM sms_smsmessage WHERE status = 'sent'") == [(count,)])
        used = sum(cpu(process.pid) - was for process, was in zip(processes, before, strict=True))
        stats = self.stats() or {}
        return stats["count"] / (stats["last"] - stats["first"]), used / (count - started) * 1000

    def ours(self, count: int, workers: int = 1, in_flight: int = THREADS) -> tuple[float, float, float]:
        """Return messages a second, CPU milliseconds per message, and memory in MB."""
        # Rate-limit keys of the last round would delay this round's messages.
        redis.Redis.from_url(self.redis.url).flushall()
        self.fill(count)
        command = ("manage.py", "sms_worker", "--in-flight", str(in_flight))
        processes = [self.start(*command) for _ in range(workers)]
        try:
            rate, used = self.drained(count, *processes)
            self.threads = int(status(processes[0].pid, "Threads"))
            return rate, used, status(processes[0].pid, "VmHWM") / 1024
        finally:
            for process in processes:
                process.terminate()
                process.wait()
            self.sql("DELETE FROM sms_smsevent")
            self.sql("DELETE FROM sms_smsmessage WHERE kind = 'match_found' AND created_at > now() - interval '1 hour'")

    def bare(self, count: int) -> tuple[float, float]:
        out = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.bare",
                f"{self.provider_url}/v3/api/send_sms/",
                str(count),
                str(THREADS),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        return float(out[0]), float(out[1])

    def celery(self, count: int) -> tuple[float, float]:
        self.fill(count)
        code = (
            "from benchmarks.celery_peer import app\n"
            "from sms.models import SmsMessage\n"
            "with app.producer_pool.acquire() as producer:\n"
            "    for pk in SmsMessage.objects.values_list('pk', flat=True):\n"
            "        app.send_task('deliver', (pk,), producer=producer)\n"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=self.environment, check=True)
        worker = self.start(
            "-m", "celery", "-A", "benchmarks.celery_peer", "worker", "-P", "threads", "-c", str(THREADS), "-l", "ERROR"
        )
        try:
            return self.drained(count, worker)
        finally:
            worker.terminate()
            worker.wait()
            self.clear()

    def latency(self, count: int = 60) -> float:
        """Return the median milliseconds from the commit to the provider with an idle worker.

        The clock starts before the NOTIFY.
        """
        code = (
            "import time, django; django.setup()\n"
            "from django.db import transaction\n"
            "from sms.outbox import queue_sms\n"
            f"import requests\nurl = '{self.provider_url}/stats'\nsession = requests.Session()\n"
            f"for n in range({count}):\n"
            "    session.get(url); time.sleep(0.05); committed = []\n"
            "    with transaction.atomic():\n"
            "        transaction.on_commit(lambda: committed.append(time.time()))\n"
            "        queue_sms('0772123456', 'x')\n"
            "    time.sleep(0.15)\n"
            "    stats = session.get(url).json()\n"
            "    print((stats['first'] - committed[0]) * 1000)\n"
        )
        worker = self.start("manage.py", "sms_worker")
        try:
            time.sleep(3)
            out = subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True
            )
            return statistics.median(float(line) for line in out.stdout.split())
        finally:
            worker.terminate()
            worker.wait()
            self.clear()

    def stakes(self, modes: Sequence[str], count: int = 200) -> dict[str, float]:
        """Return the median milliseconds of a stake that completes a match, under gunicorn, for each mode.

        The modes alternate.
        """
        servers, urls = [], {}
        for mode in modes:
            environment, module = {**self.environment, "SMS_DELIVERY": "worker"}, "playmatatu.wsgi"
            if mode == "no receivers":
                module = "benchmarks.wsgi_without_receivers"
            elif mode == "sms off":
                environment["SMS_SERVICE_BASE_URL"] = ""
            elif mode == "inline":
                environment["SMS_DELIVERY"] = "inline"
            port = free_port()
            urls[mode] = f"http://127.0.0.1:{port}/api/v1"
            servers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--log-level", "error", module],
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.DEVNULL,
                )
            )
        session = requests.Session()
        session.trust_env = False
        times: dict[str, list[float]] = {mode: [] for mode in modes}
        try:
            for url in urls.values():
                self.wait(lambda url=url: alive(f"{url}/config"))
            for number in range(count):
                for place, mode in enumerate(modes):
                    for player in (0, 1):
                        # Each mode has its own stake amount, so that stakes of different modes are not matched with
                        # each other.
                        body = {"phone_number": f"078{place}{player}{number:05}", "stake_amount": 1000 + place}
                        started = time.perf_counter()
                        answer = session.post(f"{urls[mode]}/game/stake", json=body, timeout=30).json()
                        if player:
                            assert answer["status"] == "matched", answer
                            times[mode].append((time.perf_counter() - started) * 1000)
            return {mode: statistics.median(took[20:]) for mode, took in times.items()}
        finally:
            for server in servers:
                server.terminate()
                server.wait()
            self.clear()
            self.sql("TRUNCATE game_entry, game_session, game_player CASCADE")


def cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status(pid: int, name: str) -> float:
    """Return a value of a process's status file (Linux). Memory is in KB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1])
    return 0.0


def compare(bench: Bench, count: int) -> tuple[tuple[float, float], tuple[float, float, float], float, float]:
    """Measure bare requests and the worker alternately, ROUNDS times.

    Return medians of each, and of the ratios of rate and CPU.
    """
    pairs = [(bench.bare(count), bench.ours(count)) for _ in range(ROUNDS)]
    bare = statistics.median(one[0] for one, _ in pairs), statistics.median(one[1] for one, _ in pairs)
    ours = tuple(statistics.median(two[place] for _, two in pairs) for place in range(3))
    rate = statistics.median(two[0] / one[0] for one, two in pairs)
    used = statistics.median(two[1] / one[1] for one, two in pairs)
    return bare, (ours[0], ours[1], ours[2]), rate, used


def drains(bench: Bench) -> None:
    for milliseconds, count in ((0, 4000), (20, 4000), (100, 4000)):
        with bench.provider(milliseconds):
            bare, ours, rate, used = compare(bench, count)
            celery, celery_cpu = bench.celery(count)
            times = ours[0] / celery
            limit = f", {ours[0] / (THREADS / milliseconds * 1000):.0%} of 64 in flight" if milliseconds else ""
            say(
                f"{milliseconds:3} ms: bare requests {bare[0]:6.0f}/s {bare[1]:.2f} ms CPU | "
                f"ours {ours[0]:6.0f}/s {ours[1]:.2f} ms ({rate:.0%} of bare, CPU {used:.2f} x"
                f"{limit}, {ours[2]:.0f} MB) | Celery {celery:6.0f}/s {celery_cpu:.2f} ms (ours {times:.1f} x)"
            )
    bench.environment["SMS_RATE_LIMIT_SECONDS"] = "30"
    with bench.provider(20):
        _, ours, rate, used = compare(bench, 4000)
        say(f" 20 ms with the throttle on Redis: ours {ours[0]:.0f}/s, {ours[1]:.2f} ms CPU, {used:.2f} x bare")
    bench.environment["SMS_RATE_LIMIT_SECONDS"] = "0"


def flights(bench: Bench) -> None:
    """If the provider takes 500 ms, the number of messages in flight matters most."""
    with bench.provider(500):
        for in_flight, count in ((512, 12_000), (1000, 24_000)):
            runs = [bench.ours(count, in_flight=in_flight) for _ in range(ROUNDS)]
            rate, used, megabytes = (statistics.median(run[place] for run in runs) for place in range(3))
            say(
                f"500 ms, {in_flight} in flight: {rate:.0f}/s, {rate / (2 * in_flight):.2f} of the limit, "
                f"{used:.2f} ms CPU, {bench.threads} threads, {megabytes:.0f} MB"
            )
        one, two = bench.ours(10_000, in_flight=256)[0], bench.ours(20_000, 2, in_flight=256)[0]
        say(f"two workers of 256 at 500 ms: {two:.0f}/s, {two / one:.2f} x of one ({one:.0f}/s)")


def held_open(bench: Bench) -> None:
    """PostgreSQL cannot remove dead rows while an older transaction is open."""
    with bench.provider(20):
        before = bench.ours(6000)[0]
        with psycopg.connect(bench.database) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT count(*) FROM sms_smsmessage")
            started, rates = time.monotonic(), []
            while time.monotonic() < started + 60:
                rates.append(bench.ours(6000)[0])
        say(f"a transaction held open for 60 s: {rates[-1]:.0f}/s at its end, {rates[-1] / before:.2f} x of before")


def blanking(bench: Bench, count: int = 60_000) -> None:
    bench.sql(
        "INSERT INTO sms_smsmessage (phone, text, kind, status, provider_id, attempts, retries, error, created_at,"
        " due_at, expires_at, claim, holds_link) SELECT '+256772000000', 'Play: http://x/g/t?pt=' || md5(n::text), '',"
        " 'delivered', '', 1, 0, '', now(), now(), now() - interval '1 hour', '', true FROM generate_series(1, %s) n",
        count,
    )
    bench.sql("ANALYZE sms_smsmessage")
    code = (
        "import time, django; django.setup()\nfrom sms.worker import maintenance\n"
        "started = time.perf_counter(); done = maintenance.blank_links()\n"
        "print(done / (time.perf_counter() - started))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=bench.environment, capture_output=True, text=True)
    say(f"links blanked: {float(run.stdout.split()[-1]):,.0f}/s")
    bench.clear()


def sizes(bench: Bench) -> None:
    with bench.provider(20):
        results = {}
        for rows in (1_000, 1_000_000):
            bench.clear()
            bench.fill(rows, "delivered")
            bench.sql("ANALYZE sms_smsmessage")
            runs = [bench.ours(3000) for _ in range(2)]
            results[rows] = min(used for _, used, _ in runs), max(rate for rate, _, _ in runs)
        small, large = results[1_000], results[1_000_000]
        say(
            f"CPU a message with 1,000 rows {small[0]:.2f} ms, with 1,000,000 {large[0]:.2f} ms "
            f"({large[0] / small[0]:.2f} x); rate {small[1]:.0f}/s and {large[1]:.0f}/s"
        )
        bench.clear()


def main() -> None:
    programs, redis_path = postgres_programs(), redis_program()
    if programs is None or redis_path is None:
        raise SystemExit("PostgreSQL's programs and redis-server are needed.")
    tidy_when_told_to_end()
    postgres, cache = Postgres(programs, durable=True), RedisServer(redis_path)
    postgres.create()
    cache.start()
    try:
        bench = Bench(postgres, cache)
        wanted = sys.argv[1:] or "provider drains flights held latency sizes blanking stake".split()
        if "provider" in wanted:
            with bench.provider(0):
                command = [sys.executable, "-m", "benchmarks.provider", str(bench.port), "load"]
                rate = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
                say(f"the provider itself: at least {rate} requests/s")
        if "drains" in wanted:
            drains(bench)
        if "flights" in wanted:
            flights(bench)
        if "held" in wanted:
            held_open(bench)
        if "blanking" in wanted:
            blanking(bench)
        if "latency" in wanted:
            with bench.provider(0):
                say(f"commit to provider, idle, median: {bench.latency():.1f} ms")
        if "sizes" in wanted:
            sizes(bench)
        if "stake" in wanted:
            with bench.provider(20):
                medians = bench.stakes(("no receivers", "sms off", "worker", "inline"))
            for mode, took in medians.items():
                say(f"stake, two texts, {mode}: {took:.1f} ms, {took / medians['no receivers']:.2f} x")
    finally:
        cache.stop()
        postgres.remove()


if __name__ == "__main__":
    main()
