"""What can go wrong with a text. `str()` of each is one sentence for an operator and holds no secret."""

from enum import Enum


class SmsError(Exception):
    """Base of all. `transient` says whether the same text may go through later, by itself."""

    transient = False


class InvalidPhone(SmsError, ValueError):
    """Not a Ugandan mobile number."""


class SmsDisabled(SmsError):
    """The base URL, the user name or the password is not set."""

    def __init__(self) -> None:
        super().__init__("SMS is disabled: set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD.")


class Paused(SmsError):
    """An operator has paused the sending of all texts, or of this kind."""

    transient = True

    def __init__(self, what: str, actor: str, reason: str) -> None:
        super().__init__(f"Sending of {what} is paused by {actor or 'somebody unknown'}: {reason}")


class NeverTexted(SmsError):
    """The number is on the list of those that are never texted."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This number is never texted: {reason}")


class RateLimited(SmsError):
    """This phone had a text of the same kind a moment ago. `retry_after`: seconds."""

    transient = True

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"Rate limit: this phone had a text a moment ago; try again in {retry_after:.0f} s.")


class Trouble(str, Enum):
    """What keeps DMark from taking any text: the reason why sending pauses."""

    NONE = ""
    CREDENTIALS = "credentials"
    ACCOUNT = "account"
    PROVIDER = "provider"


class ProviderError(SmsError):
    """DMark did not take the text. `status_code`: its HTTP status, None where there was none.

    `ambiguous`: DMark may have taken it all the same. `trouble`: what it means for the other texts.
    """

    ambiguous = False
    trouble = Trouble.NONE

    def __init__(self, message: str, status_code: int | None = None) -> None:
        self.status_code = status_code
        super().__init__(message)


class AuthenticationFailed(ProviderError):
    """DMark refuses the credentials; no text is to blame, and none will pass until they are mended."""

    trouble = Trouble.CREDENTIALS


class ProviderRejected(ProviderError):
    """DMark refuses this text; the same request would end the same."""


class Misdirected(ProviderRejected):
    """DMark redirects, or the settings make no address: nothing passes until they are mended."""

    trouble = Trouble.CREDENTIALS


class AccountRefused(ProviderRejected):
    """DMark refuses the whole account: no credit, suspended, sender not approved. No text is to blame."""

    trouble = Trouble.ACCOUNT


class NotDmarks(ProviderRejected):
    """A whole answer under 2xx that is not DMark's: never sent again by itself, since DMark may have the text."""

    ambiguous = True


class ProviderUnavailable(ProviderError):
    """DMark is out of order or out of reach, also after the quick retries. `retry_after`: seconds, where it said."""

    transient = True
    trouble = Trouble.PROVIDER

    def __init__(self, message: str, status_code: int | None = None, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message, status_code)


class InDoubt(ProviderUnavailable):
    """The request was written and not answered in full: a time-out, a reset, an answer cut short, a 504."""

    ambiguous = True
