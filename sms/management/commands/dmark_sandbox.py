import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sms.sandbox.server import Server


class Command(BaseCommand):
    help = "The stand-in for DMark's texts and money, for development and tests: the phones, a switch for each fault."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8025)
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine only)")

    def handle(self, *args: Any, port: int, host: str, **options: Any) -> None:
        try:
            server = Server(port, host)
        except OSError:
            raise CommandError(f"Port {port} is busy; give another one with --port.") from None
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.stdout.write(f"DMark sandbox: the phones at {server.url}/ (SMS_SERVICE_BASE_URL and DMARK_PAY_BASE_URL)")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            server.server_close()
