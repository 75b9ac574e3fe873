from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sms.errors import (
    AuthenticationFailed,
    InDoubt,
    InvalidPhone,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SmsDisabled,
    SmsError,
)
from sms.outbox import send_sms

# What to mend, by what went wrong; the first that fits.
_CURES: tuple[tuple[type[SmsError], str], ...] = (
    (InvalidPhone, "bad number"),
    (SmsDisabled, "disabled"),
    (RateLimited, "rate limit"),
    (AuthenticationFailed, "credentials"),
    (ProviderUnavailable, "provider"),
    (ProviderError, "provider"),
    (SmsError, "error"),
)


_TEXT = "Test message of playmatatu-sms: texts leave."


class Command(BaseCommand):
    help = "Send one plain text now, and say what came of it."
    # An operator needs one line here, and a text must not wait for a setting of something else.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("phone", help="the number, in any notation")
        parser.add_argument("--message", default=_TEXT, help="the text")

    def handle(self, *args: Any, phone: str, message: str, **options: Any) -> None:
        try:
            sent = send_sms(phone, message)
        except InDoubt as error:
            raise CommandError(f"Perhaps sent (provider): {error} Look at the phone before you send again.") from None
        except SmsError as error:
            cure = next(name for kind, name in _CURES if isinstance(error, kind))
            raise CommandError(f"Not sent ({cure}): {error}") from None
        except ValueError as error:
            raise CommandError(f"Not sent (bad text): {error}") from None
        self.stdout.write(f"{sent.status}: DMark's id {sent.provider_id or 'none given'} (message {sent.pk})")
