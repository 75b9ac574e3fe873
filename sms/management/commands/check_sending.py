from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sms import clock
from sms.stats import concerns
from sms.stats.wording import amount


class Command(BaseCommand):
    help = "Say whether texts leave; exit 1 if they do not. For cron, where no worker runs that could tell a person."
    requires_system_checks = ()

    def handle(self, *args: Any, **given: Any) -> None:
        reading = concerns.read(clock.now())
        found = list(concerns.found(reading))
        if found:
            raise CommandError("\n".join(f"{concern.text} {concern.remedy}" for concern in found))
        self.stdout.write(f"Texts go out; {amount(reading.waiting)} waiting.")
