"""The URL routes of the game's JSON API."""

import hashlib
import hmac
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.crypto import constant_time_compare
from ninja import Router
from ninja.errors import HttpError
from pydantic import Field, JsonValue

from game.api import schemas
from game.api.replies import iso, placed_answer, status_answer
from game.etag import current_tag
from game.rules.limits import client_address
from game.rules.placing import Stake, place
from game.rules.results import DifferentResult, record_result
from game.rules.validation import Refused
from game.tokens import entry_id_of, entry_in, entry_of, session_of

router = Router(tags=["game"])
NO_CONTROL: dict[str, JsonValue] = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}
ERRORS = dict.fromkeys((400, 403, 404, 409, 413, 415, 429, 503), schemas.Error)


@router.post(
    "/game/stake",
    response={200: schemas.Placed, **ERRORS},
    summary="Place a stake: in the public queue, in a new private match, or in a friend's",
)
def stake(request: HttpRequest, body: schemas.StakeIn) -> dict[str, Any]:
    if body.match_code and body.create_private:
        raise Refused(400, "Give a match_code or create_private, not both.", "match_code")
    return placed_answer(
        place(
            Stake(
                phone=body.phone_number,
                amount=body.stake_amount,
                display_name=body.display_name,
                create_private=body.create_private,
                invite_phone=body.invite_phone,
                match_code=body.match_code,
                address=client_address(request),
            )
        )
    )


@router.api_operation(
    ["GET", "HEAD"],
    "/game/queue/status",
    response={200: schemas.QueueStatus, **ERRORS},
    exclude_unset=True,
    summary="The status of a stake. Answers 304 to If-None-Match while nothing has changed",
)
def queue_status(
    request: HttpRequest,
    response: HttpResponse,
    queue_token: Annotated[str, Field(min_length=1, json_schema_extra=NO_CONTROL)],
) -> dict[str, Any] | HttpResponse:
    pk = entry_id_of(queue_token)
    # The ETag is read before the entry. If the entry changes in between, the next poll gets a new ETag, so no change is
    # missed.
    tag = "" if pk is None else current_tag(pk)
    if tag and tag == request.headers.get("If-None-Match"):
        return HttpResponseNotModified(headers={"ETag": tag})
    entry = entry_of(queue_token) if tag else None
    if entry is None:
        return {"status": "not_found", "message": "We can't find this stake."}
    response["ETag"] = tag
    return status_answer(entry)


@router.api_operation(
    ["GET", "HEAD"],
    "/game/{game_token}",
    response={200: schemas.SessionOut, **ERRORS},
    exclude_unset=True,
    summary="A match, with both names if the player's own token is given",
)
def session(
    request: HttpRequest,
    game_token: Annotated[str, Field(json_schema_extra=NO_CONTROL)],
    pt: Annotated[str, Field(json_schema_extra=NO_CONTROL)] = "",
) -> dict[str, Any]:
    found = session_of(game_token)
    if found is None:
        raise HttpError(404, "We can't find this match.")
    answer: dict[str, Any] = {
        "game_token": found.token,
        "status": found.status,
        "stake_amount": found.stake_amount,
        "prize_amount": found.prize_amount,
        "expires_at": iso(found.expires_at),
    }
    if pt:
        entry = entry_in(found, pt)
        if entry is None:
            raise HttpError(403, "This link is not yours: the player token does not belong to this match.")
        opponent = entry.opponent
        answer |= {
            "my_display_name": entry.display_name,
            "opponent_display_name": opponent.display_name if opponent else "",
        }
    return answer


@router.api_operation(
    ["GET", "HEAD"],
    "/config",
    response=schemas.Config,
    summary="The commission, the smallest stake and the lifetime of an entry",
)
def config(request: HttpRequest) -> dict[str, Any]:
    minutes = settings.QUEUE_EXPIRY_MINUTES
    return {
        "commission_flat": settings.COMMISSION_FLAT,
        "min_stake_amount": settings.MIN_STAKE_AMOUNT,
        "queue_expiry_minutes": int(minutes) if float(minutes).is_integer() else minutes,
    }


def signed(request: HttpRequest) -> bool:
    """Verify the game server's signature of the request. Raises HttpError if the request cannot be verified."""
    if not settings.GAME_SERVER_SECRET:
        raise HttpError(404, "Results are not accepted here: GAME_SERVER_SECRET is not set.")
    digest = hmac.new(settings.GAME_SERVER_SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    if not constant_time_compare(request.headers.get("X-Game-Signature", "").strip().lower(), f"sha256={digest}"):
        raise HttpError(403, "X-Game-Signature is not the signature of this body.")
    return True


@router.post(
    "/game/{game_token}/result",
    auth=signed,
    response={200: schemas.ResultOut, **dict.fromkeys((400, 403, 404, 409, 413, 415, 503), schemas.Error)},
    summary="The result of a match, from the game server",
)
def result(
    request: HttpRequest, game_token: Annotated[str, Field(json_schema_extra=NO_CONTROL)], body: schemas.ResultIn
) -> dict[str, Any]:
    """Record the result of a match.

    The header `X-Game-Signature` must be `sha256=<hex HMAC-SHA256 of the raw body>`. The same result may be sent again.
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
        record_result(session, body.outcome, winner, by="game server")
    except DifferentResult as different:
        raise HttpError(409, str(different)) from None
    return {"status": "recorded"}
