"""Reasons why a message was not sent. `str()` of each error is one sentence for an operator and contains no secret."""

from enum import Enum


class SmsError(Exception):
    """Base class of all errors of this app. `transient`: the same message may succeed later without any change."""

    transient = False


class InvalidPhone(SmsError, ValueError):
    """The number is not a Ugandan mobile number."""


class SmsDisabled(SmsError):
    """The base URL, the user name or the password is not set."""

    def __init__(self) -> None:
        super().__init__("SMS is disabled: set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD.")


class Paused(SmsError):
    """An operator has paused sending, of all messages or of this kind."""

    transient = True


class NeverTexted(SmsError):
    """The number is on the suppression list."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This number is on the suppression list: {reason}")


class RateLimited(SmsError):
    """A message of the same kind was sent to this phone within the rate-limit window. `retry_after`: seconds."""

    transient = True

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(
            f"Rate limit: a message of this kind was just sent to this phone; try again in {retry_after:.0f} s."
        )


class Trouble(str, Enum):
    """A fault that affects all messages, not only the message that failed."""

    NONE = ""
    CREDENTIALS = "credentials"
    ACCOUNT = "account"
    PROVIDER = "provider"


class ProviderError(SmsError):
    """DMark did not accept the message.

    `status_code`: the HTTP status, or None if there was no complete response. `ambiguous`: DMark may have the message
    nevertheless. `trouble`: set if the fault affects all other messages too.
    """

    ambiguous = False
    trouble = Trouble.NONE

    def __init__(self, message: str, status_code: int | None = None) -> None:
        self.status_code = status_code
        super().__init__(message)


class AuthenticationFailed(ProviderError):
    """DMark refuses the credentials. Every message would be refused until they are corrected."""

    trouble = Trouble.CREDENTIALS


class ProviderRejected(ProviderError):
    """DMark refuses this message. The same request would be refused again."""


class Misdirected(ProviderRejected):
    """DMark redirects, or the settings make no valid URL. Every message would fail until the settings are corrected."""

    trouble = Trouble.CREDENTIALS


class AccountRefused(ProviderRejected):
    """DMark refuses the whole account: no credit, suspended, or sender not approved."""

    trouble = Trouble.ACCOUNT


class NotDmarks(ProviderRejected):
    """A complete 2xx response that is not from DMark.

    DMark may have the message nevertheless, so the message is never resent automatically.
    """

    ambiguous = True


class ProviderUnavailable(ProviderError):
    """DMark has a fault or is unreachable, and the immediate retries failed too.

    `retry_after`: seconds, if DMark gave any.
    """

    transient = True
    trouble = Trouble.PROVIDER

    def __init__(self, message: str, status_code: int | None = None, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message, status_code)


class InDoubt(ProviderUnavailable):
    """The outcome of a send request is ambiguous.

    The request was written but got no complete response (timeout, reset, truncated, 504). DMark may have the message
    and deliver it. Do not send it again, because the person may get it twice. If a delivery report arrives, it sets the
    final status of the message.
    """

    ambiguous = True
    transient = False
