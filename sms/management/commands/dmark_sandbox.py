import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import NoReverseMatch, reverse

from sms import conf
from sms.sandbox.page import Links
from sms.sandbox.server import Server


class Command(BaseCommand):
    help = "Run a fake DMark for development and tests: a page with the phones and a switch for each fault."
    requires_system_checks = ()
    server_class: type[Server] = Server
    settings_names = "SMS_SERVICE_BASE_URL"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8025)
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine only)")

    def handle(self, *args: Any, port: int, host: str, **options: Any) -> None:
        try:
            server = self.server_class(port, host, _links())
        except OSError:
            raise CommandError(f"Port {port} is busy; give another one with --port.") from None
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if options["verbosity"]:
            self.stdout.write(f"DMark sandbox: the phones at {server.url}/ ({self.settings_names})")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            server.server_close()


def _links() -> Links:
    """Return the URL of this site, and its URL for inbound SMS. A URL is "" if it is not configured."""
    site, secret = str(getattr(settings, "SITE_URL", "")).rstrip("/"), conf.current().inbound_secret
    try:
        inbound = f"{site}{reverse('sms:inbound', args=[secret])}" if site and secret else ""
    except NoReverseMatch:
        inbound = ""
    return Links(site, inbound)
