import socket
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sms.alerts import send_now


class Command(BaseCommand):
    help = "Mail ADMINS and post to ALERT_WEBHOOK_URL that a scheduled job failed. Needs no database."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", help="the name of the unit or job")

    def handle(self, *args: Any, **given: Any) -> None:
        job, host = given["job"], socket.gethostname()
        if not settings.ADMINS and not getattr(settings, "ALERT_WEBHOOK_URL", ""):
            raise CommandError("The alert has no recipient: set ADMINS or ALERT_WEBHOOK_URL.")
        text = f"{job} failed on {host}. Its output says why: journalctl -u {job} -n 50, or docker compose logs."
        if not send_now(f"job:{job}", text):
            raise CommandError("The alert could not be sent; the log says why.")
