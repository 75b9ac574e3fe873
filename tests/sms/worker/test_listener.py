"""The worker notices new messages at once with LISTEN on its own connection, and detects if NOTIFY does not arrive."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Postgres, Sandbox, wait_for
from tests.system import System, postgres_database

IDLE = "SELECT 1 FROM sms_smsworker"
BURST = """
from sms.outbox import queue_sms
for number in range(150):
    queue_sms(f"0772{number:06}", f"text {number}")
"""


def test_notify_wakes_an_idle_worker(on_postgres: System) -> None:
    on_postgres.worker("--poll", "60")
    wait_for(lambda: on_postgres.sql(IDLE), 60)
    on_postgres.queue(1)
    wait_for(lambda: on_postgres.arrived() == 1, 5)


def test_the_listener_is_back_after_its_connection_was_cut(on_postgres: System) -> None:
    """Incident elsewhere: in graphile/worker#541, LISTEN was lost forever after a database error."""
    on_postgres.worker("--poll", "60")
    wait_for(lambda: on_postgres.sql(IDLE), 60)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = ?"
    on_postgres.sql(cut, on_postgres.database.rpartition("/")[2])
    listens = "SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = ?"
    wait_for(lambda: on_postgres.sql(listens, on_postgres.database.rpartition("/")[2]), 60)
    on_postgres.queue(1)
    wait_for(lambda: on_postgres.arrived() == 1, 10)


def test_a_burst_of_commits_is_noticed_to_the_last(on_postgres: System) -> None:
    """A process sends at most one NOTIFY in 10 ms. The worker's second search finds the other messages."""
    on_postgres.worker("--poll", "60")
    wait_for(lambda: on_postgres.sql(IDLE), 60)
    on_postgres.manage("shell", "-v0", "-c", BURST)
    wait_for(lambda: on_postgres.arrived() == 150, 10)


class DeafProxy:
    """A proxy between worker and PostgreSQL that drops notifications, as a transaction pooler does."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pass_on_but_notifications, args=(server, client), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, to: socket.socket) -> None:
        with source, to:
            try:
                while data := source.recv(65536):
                    to.sendall(data)
                to.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    @staticmethod
    def _pass_on_but_notifications(source: socket.socket, to: socket.socket) -> None:
        """Forward all messages except notifications.

        A message of PostgreSQL's protocol starts with one byte for its type and four bytes for its length. The length
        includes these four bytes.
        """
        stream = source.makefile("rb")
        try:
            while head := stream.read(5):
                body = stream.read(int.from_bytes(head[1:], "big") - 4)
                if head[:1] != b"A":
                    to.sendall(head + body)
        except OSError:
            return
        finally:
            stream.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def deaf(postgres: Postgres) -> Iterator[DeafProxy]:
    proxy = DeafProxy(postgres.port)
    yield proxy
    proxy.close()


def test_a_pooler_in_the_way_is_said_once(
    postgres: Postgres, sandbox: Sandbox, deaf: DeafProxy, tmp_path: Path
) -> None:
    """Incidents elsewhere: a transaction pooler drops LISTEN silently (zoolutions/pgbus#236, OCA/queue#539).

    In timgit/pg-boss#850, a listener without notifications looked healthy.
    """
    system = System(postgres_database(postgres), sandbox)
    straight = system.environment["DATABASE_URL"]
    through = straight.replace(str(postgres.port), str(deaf.port)) + "?sslmode=disable&gssencmode=disable"
    system.environment["DATABASE_URL"] = through
    heard = tmp_path / "stderr"
    try:
        with heard.open("wb") as file:
            system.worker("--poll", "60", "--maintenance", "0.3", stderr=file)
            wait_for(lambda: "sms.not_listening" in heard.read_text(), 60)
            # Without notifications the worker polls more often than `--poll` says.
            for number in range(3):
                system.queue(1, start=number)
                wait_for(lambda sent=number + 1: system.arrived() == sent, 5)
            time.sleep(4)
    finally:
        system.close()
    said = heard.read_text()
    assert said.count("sms.not_listening") == said.count("sms.listen_lost") == 1
    assert "straight to PostgreSQL" in said
