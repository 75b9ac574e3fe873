from typing import Any

from django.core.management.base import BaseCommand, CommandError

from game.maintenance import TASKS
from payments import worker


class Command(BaseCommand):
    help = "Once what game_worker does all the time: collect, ask back, open, end, tell of refunds, prune. For cron."

    def handle(self, *args: Any, **options: Any) -> None:
        asked = worker.once()
        failed = 0
        said = []
        for task in TASKS:
            done = task.run()
            failed += done.failed
            said.append(f"{task.name}: {done.done}")
        self.stdout.write(", ".join([*said, f"asked the provider: {asked}"]))
        if failed:
            raise CommandError(f"{failed} could not be opened or told; the log says why.")
