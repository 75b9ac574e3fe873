from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sms.conf import PROVIDER
from sms.errors import AuthenticationFailed, InvalidPhone, ProviderError, RateLimited, SmsDisabled, SmsError
from sms.outbox import send_sms

# For each error class, the name of the cause that the command prints. The first matching class is used.
_CAUSES: tuple[tuple[type[SmsError], str], ...] = (
    (InvalidPhone, "bad number"),
    (SmsDisabled, "disabled"),
    (RateLimited, "rate limit"),
    (AuthenticationFailed, "credentials"),
    (ProviderError, "provider"),
    (SmsError, "error"),
)

_TEXT = "Test message of playmatatu-sms: messages are being sent."


class Command(BaseCommand):
    help = "Send one message without a kind now, and print its status."
    # An error in an unrelated setting must not stop the test message from being sent.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("phone", help="the number, in any notation")
        parser.add_argument("--message", default=_TEXT, help="the text")

    def handle(self, *args: Any, phone: str, message: str, **options: Any) -> None:
        try:
            sent = send_sms(phone, message)
        except SmsError as error:
            if isinstance(error, ProviderError) and error.ambiguous:
                raise CommandError(f"Perhaps sent (provider): {error} Look at the phone before you resend.") from None
            cause = next(name for kind, name in _CAUSES if isinstance(error, kind))
            raise CommandError(f"Not sent ({cause}): {error}") from None
        except ImproperlyConfigured as error:
            raise CommandError(f"Not sent (setting): {error}") from None
        except ValueError as error:
            raise CommandError(f"Not sent (bad text): {error}") from None
        self.stdout.write(f"{sent.status}: {PROVIDER}'s id {sent.provider_id or 'none given'} (message {sent.pk})")
