from typing import Any

from django.core.management.base import BaseCommand, CommandError

from game.chores import CHORES
from payments import background


class Command(BaseCommand):
    help = "Once what game_worker does all the time: collect, ask back, open, end, tell of refunds, prune. For cron."

    def handle(self, *args: Any, **options: Any) -> None:
        asked = background.once()
        failed = 0
        said = []
        for chore in CHORES:
            done = chore.look()
            failed += done.failed
            said.append(f"{chore.name}: {done.done}")
        self.stdout.write(", ".join([*said, f"asked the provider: {asked}"]))
        if failed:
            raise CommandError(f"{failed} could not be opened or told; the log says why.")
