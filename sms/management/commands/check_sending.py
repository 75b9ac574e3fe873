from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sms import alerts, clock
from sms.formats import texts
from sms.stats import status


class Command(BaseCommand):
    help = "Exit 1 if texts are not being sent, and send due alerts. For cron or a timer."
    requires_system_checks = ()

    def handle(self, *args: Any, **given: Any) -> None:
        alerts.check()
        reading = status.read(clock.now())
        found = list(status.concerns(reading))
        if found:
            raise CommandError("\n".join(f"{concern.text} {concern.remedy}" for concern in found))
        waiting = f"{texts(reading.waiting)} waiting" if reading.waiting else "none are waiting"
        self.stdout.write(f"Texts are being sent; {waiting}.")
