"""Errors that explain why a message was not sent, or may not have been sent. `str(error)` contains no secrets."""

from enum import Enum


class SmsError(Exception):
    """Base class of all errors of this app. `transient`: True if a later attempt to send the message may succeed."""

    transient = False


class InvalidPhone(SmsError, ValueError):
    """The number is not a Ugandan mobile number."""


class SmsDisabled(SmsError):
    """SMS is not configured, or this is a test run and the base URL is not local."""


class Paused(SmsError):
    """An operator has paused the sending of all messages or of this kind of message."""

    transient = True


class NeverTexted(SmsError):
    """The number is on the suppression list (numbers that must not be texted)."""

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
    """A fault that affects all messages, not only the one that failed."""

    NONE = ""
    CREDENTIALS = "credentials"
    ACCOUNT = "account"
    PROVIDER = "provider"


class ProviderError(SmsError):
    """A request to DMark failed. `status_code`: the HTTP status, or None without a complete response.

    `ambiguous`: True if DMark may have the message nevertheless. `trouble`: the kind of fault, if it affects all
    messages.
    """

    ambiguous = False
    trouble = Trouble.NONE

    def __init__(self, message: str, status_code: int | None = None) -> None:
        self.status_code = status_code
        super().__init__(message)


class AuthenticationFailed(ProviderError):
    """DMark refuses the user name and password. No message can be sent until an operator corrects the settings."""

    trouble = Trouble.CREDENTIALS


class ProviderRejected(ProviderError):
    """The request failed, and the same request would fail again. Usually, DMark refused the message."""


class Misdirected(ProviderRejected):
    """DMark redirects requests, or the settings do not form a valid URL.

    No message can be sent until an operator corrects the settings.
    """

    trouble = Trouble.CREDENTIALS


class AccountRefused(ProviderRejected):
    """DMark refuses the whole account: no credit, account suspended, or sender name not approved."""

    trouble = Trouble.ACCOUNT


class NotDmarks(ProviderRejected):
    """A complete 2xx response that does not come from DMark, but for example from a proxy.

    The message is never resent automatically, because DMark may have it.
    """

    ambiguous = True


class ProviderUnavailable(ProviderError):
    """DMark reports a fault or is unreachable.

    `retry_after`: the number of seconds that DMark asked to wait, or None.
    """

    transient = True
    trouble = Trouble.PROVIDER

    def __init__(self, message: str, status_code: int | None = None, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message, status_code)


class InDoubt(ProviderUnavailable):
    """A send request was written, but its outcome is unknown, for example after a timeout.

    If `send_sms` raises this error, do not send the message again, because the person may get it twice.
    """

    ambiguous = True
    transient = False
