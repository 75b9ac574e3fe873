from typing import Any

from django.core.management.base import BaseCommand, CommandError

from game.maintenance import THOROUGH
from payments import services


class Command(BaseCommand):
    help = "One pass of game_worker, for cron: requests and polls payments, ends stakes, sends refund messages."

    def handle(self, *args: Any, **options: Any) -> None:
        polled = services.work_once()
        failed = 0
        said = []
        for task in THOROUGH:
            done = task.run()
            failed += done.failed
            said.append(f"{task.name}: {done.done}")
        self.stdout.write(", ".join([*said, f"requests to the provider: {polled}"]))
        if failed:
            raise CommandError(f"{failed} could not be activated or messaged; see the log.")
