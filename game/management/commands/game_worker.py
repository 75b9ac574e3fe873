import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from game.worker import Worker
from payments import providers

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Command(BaseCommand):
    help = (
        "Do the time-driven work of payments and game: send payment requests and payouts, poll statuses, activate paid "
        "stakes, expire old ones, announce refunds. Any number of these share the work."
    )
    # An error in an unrelated setting must not prevent the worker's start.
    requires_system_checks = ()
    stop_requested = False
    worker: Worker | None = None

    def run_from_argv(self, argv: list[str]) -> None:
        # Install the signal handlers first, so that a signal during startup also shuts the worker down normally.
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: self._stop())
        super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--poll", type=float, help="seconds between two polls (1; 0.5 without LISTEN)")

    def handle(self, *args: Any, **given: Any) -> None:
        listens = connection.vendor == "postgresql"
        poll = given["poll"] or (1.0 if listens else 0.5)
        worker = self.worker = Worker(poll, self._say)
        worker.stop_requested = self.stop_requested
        provider = providers.current()
        self._say(
            f"game_worker: {connection.vendor}, {'LISTEN and ' if listens else ''}poll every {poll:g} s, "
            f"collects by {provider.name if provider else 'nobody: only callbacks report payments'}"
        )
        alive = worker.run()
        self._say("game_worker: stopped")
        if not alive:
            raise SystemExit(1)

    def _stop(self) -> None:
        self.stop_requested = True
        if self.worker is not None:
            self.worker.stop()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
