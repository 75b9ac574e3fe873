"""`POST /api/v1/game/<game_token>/result`, with which the game server reports the result of a match."""

import hashlib
import hmac
from typing import Annotated, Any, Literal

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from ninja import Router, Schema
from ninja.errors import HttpError
from pydantic import Field

from game.api import schemas
from game.api.routes import NO_CONTROL
from game.rules.results import DifferentResult, record_result
from game.rules.validation import Refused
from game.tokens import entry_in, session_of

router = Router(tags=["game"])
BY = "game server"


class ResultIn(Schema):
    outcome: Literal["win", "draw", "void"]
    winner: Annotated[str | None, Field(description="The winner's player token, with win only")] = None


class ResultOut(Schema):
    status: Literal["recorded"]


def signed(request: HttpRequest) -> bool:
    """Check the signature of the request. Django Ninja calls this as `auth`, before it parses the body. Raises
    HttpError.
    """
    if not settings.GAME_SERVER_SECRET:
        raise HttpError(404, "Results are not accepted here: GAME_SERVER_SECRET is not set.")
    digest = hmac.new(settings.GAME_SERVER_SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    if not constant_time_compare(request.headers.get("X-Game-Signature", "").strip().lower(), f"sha256={digest}"):
        raise HttpError(403, "X-Game-Signature is not the signature of this body.")
    return True


@router.post(
    "/game/{game_token}/result",
    auth=signed,
    response={200: ResultOut, **dict.fromkeys((400, 403, 404, 409, 413, 415, 503), schemas.Error)},
    summary="The result of a match, from the game server",
)
def result(
    request: HttpRequest, game_token: Annotated[str, Field(json_schema_extra=NO_CONTROL)], body: ResultIn
) -> dict[str, Any]:
    """Record the result of a match.

    The request must have the header `X-Game-Signature: sha256=<hex HMAC-SHA256 of the raw body>`. If the same result is
    reported again, the response is 200 too.
    """
    session = session_of(game_token)
    if session is None:
        raise HttpError(404, "We can't find this match.")
    if (body.outcome == "win") is (not body.winner):
        raise Refused(400, "winner is needed with the outcome win, and with no other.", "winner")
    winner = entry_in(session, body.winner) if body.winner else None
    if body.winner and winner is None:
        raise Refused(400, "winner is not a player token of this match.", "winner")
    try:
        record_result(session, body.outcome, winner, by=BY)
    except DifferentResult as different:
        raise HttpError(409, str(different)) from None
    return {"status": "recorded"}
