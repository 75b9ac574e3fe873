from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from playmatatu import retention


class Command(BaseCommand):
    help = "Erase old client addresses and callback bodies, and delete expired sessions. Run it each night."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--address-days", type=int, default=30, help="keep client addresses for (default 30)")
        parser.add_argument("--body-days", type=int, default=365, help="keep callback bodies for (default 365)")

    def handle(self, *args: Any, **given: Any) -> None:
        if given["address_days"] < 1 or given["body_days"] < 1:
            raise CommandError("--address-days and --body-days must be at least 1.")
        now = timezone.now()
        addresses = retention.erase_addresses(now - timedelta(days=given["address_days"]))
        bodies = retention.erase_callback_bodies(now - timedelta(days=given["body_days"]))
        sessions = retention.delete_sessions()
        self.stdout.write(f"Erased {addresses} addresses and {bodies} callback bodies, deleted {sessions} sessions.")
