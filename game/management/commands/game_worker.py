import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from game.worker import Worker
from payments import providers


class Command(BaseCommand):
    help = (
        "All that time brings to payments and game: collect, ask back, pay out, open, end, tell of refunds. "
        "Any number share the work."
    )
    # What an operator needs here is that it runs, whatever a setting of something else may be.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--poll", type=float, help="seconds between two looks (1; 0.5 without LISTEN)")

    def handle(self, *args: Any, **given: Any) -> None:
        listens = connection.vendor == "postgresql"
        poll = given["poll"] or (1.0 if listens else 0.5)
        worker = Worker(poll, self._say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: worker.stop())
        provider = providers.current()
        self._say(
            f"game_worker: {connection.vendor}, {'LISTEN and ' if listens else ''}poll every {poll:g} s, "
            f"collects by {provider.name if provider else 'nobody: callbacks alone tell of money'}"
        )
        worker.run()
        self._say("game_worker: stopped")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
