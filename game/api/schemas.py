"""Request and response schemas of the JSON API, with its error messages for invalid input."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from game.rules.codes import LONGEST_TEXT, read_code
from game.rules.results import Outcome
from game.rules.validation import MAX_NAME, has_control, read_name
from sms.text import to_e164


def readable(value: object, name: str, longest: int) -> str:
    """Return the text without surrounding spaces.

    Raise ValueError if the value is not a string, is too long or contains control characters.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text.")
    if has_control(value):
        raise ValueError(f"{name} must not hold control characters.")
    if len(value.strip()) > longest:
        raise ValueError(f"{name} must have at most {longest} characters.")
    return value.strip()


def _amount(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("stake_amount must be whole UGX: an integer or a string of digits.")
    return value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError("create_private must be true or false.")


def _name(value: object) -> str:
    return read_name(readable(value, "display_name", MAX_NAME))


def _code(value: object) -> str:
    return read_code(readable(value, "match_code", LONGEST_TEXT))


def _described(*types: dict[str, Any], **more: Any) -> WithJsonSchema:
    """Return the OpenAPI description of an input field. The description checks nothing: validators check the value."""
    return WithJsonSchema({"anyOf": [*types], **more} if len(types) > 1 else {**types[0], **more})


_NULL = {"type": "null"}
_PHONE = {"type": "string", "description": "A Ugandan mobile number in any notation", "examples": ["0772123456"]}
_UGX = ({"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"})
_CODE = {
    "type": "string",
    "maxLength": LONGEST_TEXT,
    "description": "A match code as typed or pasted: ABC234, abc-234, or the link or sentence that holds it",
    "examples": ["ABC234"],
}


class StakeIn(BaseModel):
    """A request to stake. An empty string or null counts as a missing value."""

    phone_number: Annotated[str, BeforeValidator(to_e164), _described(_PHONE)]
    stake_amount: Annotated[int, BeforeValidator(_amount), _described(*_UGX, description="Whole UGX", examples=[1000])]
    display_name: Annotated[
        str, BeforeValidator(_name), _described({"type": "string", "maxLength": MAX_NAME}, _NULL)
    ] = ""
    create_private: Annotated[bool, BeforeValidator(_flag), _described({"type": "boolean"}, _NULL)] = False
    invite_phone: Annotated[str, BeforeValidator(to_e164), _described(_PHONE, _NULL)] = ""
    match_code: Annotated[str, BeforeValidator(_code), _described(_CODE, {"const": ""}, _NULL)] = ""

    @model_validator(mode="before")
    @classmethod
    def empty_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {
            key: value
            for key, value in data.items()
            if value is not None and not (isinstance(value, str) and not value.strip(" "))
        }
        # Ignore the friend's number if the request creates no private match. Some frontends always send the number.
        if given.get("create_private") in (None, False, "false"):
            given.pop("invite_phone", None)
        return given


class Error(BaseModel):
    error: str
    fields: dict[str, str]


class Invite(BaseModel):
    id: int
    status: str


class _Accepted(BaseModel):
    """The fields of every response to an accepted stake."""

    queue_id: int
    queue_token: str
    player_token: str
    transaction_id: str
    message: str


class PrivateCreated(_Accepted):
    status: Literal["private_created"]
    match_code: str
    expires_at: str
    sms_invite_sent: bool
    sms_invite: Invite | None


class Queued(_Accepted):
    status: Literal["queued"]
    stake_amount: int
    display_name: str


class Matched(_Accepted):
    status: Literal["matched"]
    game_token: str
    game_link: str
    stake_amount: int
    prize_amount: int
    expires_at: str
    my_display_name: str
    opponent_display_name: str
    session_id: int


class AwaitingPayment(_Accepted):
    status: Literal["awaiting_payment"]
    stake_amount: int
    total_amount: int
    display_name: str


# The `status` field selects the schema. Without this rule, a response would be checked against all four schemas.
Placed = Annotated[Matched | PrivateCreated | AwaitingPayment | Queued, Field(discriminator="status")]


class Refund(BaseModel):
    """A refund that is due or was paid."""

    status: Literal["due", "refunded"]
    amount: int
    phone_number: str


class QueueStatus(BaseModel):
    """The status of a stake. Fields that do not apply to this status are left out."""

    status: Literal["awaiting_payment", "queued", "matched", "expired", "not_found"]
    message: str = ""
    reason: str | None = None
    refund: Refund | None = None
    stake_amount: int | None = None
    total_amount: int | None = None
    display_name: str | None = None
    match_code: str | None = None
    game_token: str | None = None
    game_link: str | None = None
    session_id: int | None = None
    my_display_name: str | None = None
    opponent_display_name: str | None = None
    prize_amount: int | None = None
    expires_at: str | None = None
    sms_invite: Invite | None = None


class SessionOut(BaseModel):
    game_token: str
    status: Literal["active", "expired"]
    stake_amount: int
    prize_amount: int
    expires_at: str
    my_display_name: str | None = None
    opponent_display_name: str | None = None


class ResultIn(BaseModel):
    outcome: Outcome
    winner: Annotated[str | None, Field(description="The winner's player token, with win only")] = None


class ResultOut(BaseModel):
    status: Literal["recorded"]


class Config(BaseModel):
    commission_flat: int
    min_stake_amount: int
    queue_expiry_minutes: int | float


class Health(BaseModel):
    status: Literal["ok", "degraded", "down"]
    parts: dict[str, Any]
