"""Conversations with DMark, driven by lists of responses, without sockets and clocks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.test import override_settings

from sms import conf
from sms.dmark import conversation, responses
from sms.dmark.conversation import AccessToken, Budget, Conversation, NeedToken, NoResponse, Pause, Request
from sms.dmark.exchange import Exchange
from sms.errors import AuthenticationFailed, InDoubt, NotDmarks, ProviderRejected, ProviderUnavailable, SmsDisabled

TAKEN = (200, '{"msg_id": 7}')
UNSENT = NoResponse("ConnectionRefusedError", request_written=False)
CUT = NoResponse("RemoteDisconnected", request_written=True)
LATE = NoResponse("ReadTimeout", request_written=True, timed_out=True, ms=2000)


@pytest.fixture
def config() -> conf.Config:
    with override_settings(
        SMS_SERVICE_BASE_URL="http://127.0.0.1:1",
        SMS_SERVICE_USERNAME="u",
        SMS_SERVICE_PASSWORD="p",
        SMS_CATEGORIES="match_found=Transactional",
    ):
        return conf.current()


def drive(running: Conversation[Any], script: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Run a conversation. Take responses from `script`, and answer pauses and token requests automatically.

    Return the result and all commands.
    """
    commands: list[Any] = []
    answers_left = list(script)
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            command = running.throw(error) if error else running.send(answer)
        except StopIteration as end:
            assert answers_left == []
            return end.value, commands
        except Exception as end:  # noqa: BLE001
            assert answers_left == []
            return end, commands
        commands.append(command)
        answer = error = None
        if isinstance(command, NeedToken):
            answer = AccessToken(f"token-{sum(isinstance(one, NeedToken) for one in commands)}", ms=5)
        elif isinstance(command, Request):
            item = answers_left.pop(0)
            if isinstance(item, BaseException):
                error = item
            else:
                status, body, *rest = item
                answer = responses.read(status, body.encode(), float(rest[0]) if rest else None, 3)


def send(config: conf.Config, script: Sequence[Any], **options: Any) -> tuple[Any, list[Any], list[Exchange]]:
    noted: list[Exchange] = []
    end, commands = drive(conversation.send(config, "0772123456", "hello", "", noted.append, **options), script)
    return end, commands, noted


def requests(commands: list[Any]) -> int:
    return sum(isinstance(command, Request) for command in commands)


@pytest.mark.parametrize(
    ("script", "end", "asked"),
    [
        ([TAKEN], "7", 1),
        # The request was not written, or DMark refused it temporarily. There are up to two retries.
        ([UNSENT, UNSENT, TAKEN], "7", 3),
        ([UNSENT, UNSENT, UNSENT], ProviderUnavailable, 3),
        ([(503, ""), UNSENT, (500, "<html>")], ProviderUnavailable, 3),
        ([(429, ""), (429, ""), (429, "")], ProviderUnavailable, 3),
        ([(429, "", "2"), TAKEN], "7", 2),
        ([(429, "", "30")], ProviderUnavailable, 1),
        # The outcome is unknown. The conversation never repeats such a request.
        ([CUT], InDoubt, 1),
        ([LATE], InDoubt, 1),
        ([(504, "")], InDoubt, 1),
        ([(503, ""), LATE], InDoubt, 2),
        ([UNSENT, CUT], InDoubt, 2),
        # Final responses.
        ([(400, "{}")], ProviderRejected, 1),
        ([(200, "<html>")], NotDmarks, 1),
        # The token is no longer valid. The conversation gets a new token once, and makes the retries that are left.
        ([(401, "{}"), TAKEN], "7", 2),
        ([(401, "{}"), (503, ""), (503, ""), TAKEN], "7", 4),
        ([(503, ""), (401, "{}"), (503, ""), TAKEN], "7", 4),
        ([(503, ""), (503, ""), (401, "{}"), (503, "")], ProviderUnavailable, 4),
        ([(401, "{}"), (403, "{}")], AuthenticationFailed, 2),
        ([(401, "{}"), CUT], InDoubt, 2),
    ],
)
def test_sending(config: conf.Config, script: list[Any], end: Any, asked: int) -> None:
    came, commands, noted = send(config, script)
    assert came == end if isinstance(end, str) else type(came) is end
    assert requests(commands) == len(noted) == asked


def test_the_send_request(config: conf.Config) -> None:
    _, commands, _ = send(config, [(401, "{}"), TAKEN], kind="match_found")
    assert [type(command) for command in commands] == [NeedToken, Request, NeedToken, Request]
    assert (commands[0].rejected, commands[2].rejected, commands[1].token, commands[3].token) == (
        "",
        "token-1",
        "token-1",
        "token-2",
    )
    assert commands[1].url == "http://127.0.0.1:1/v3/api/send_sms/"
    assert b'"category": "Transactional"' in commands[1].payload
    assert b"category" not in send(config, [TAKEN], kind="plain")[1][1].payload


def test_pauses_grow(config: conf.Config) -> None:
    pauses = [command.seconds for command in send(config, [UNSENT, UNSENT, TAKEN])[1] if isinstance(command, Pause)]
    assert 0.10 <= pauses[0] <= 0.25
    assert 0.45 <= pauses[1] <= 0.55
    [waited] = [command.seconds for command in send(config, [(429, "", "2"), TAKEN])[1] if isinstance(command, Pause)]
    assert waited == 2


def test_the_fields_of_an_exchange(config: conf.Config) -> None:
    _, _, [first, second] = send(config, [(503, "busy"), LATE])
    assert (first.status, first.answer, first.trouble, first.ambiguous, first.ms) == (503, "busy", "provider", False, 3)
    assert (second.status, second.trouble, second.ambiguous, second.ms) == (None, "provider", True, 2000)


def test_no_further_request_once_the_budget_is_spent(config: conf.Config) -> None:
    slow = NoResponse("ConnectTimeout", request_written=False, timed_out=True, ms=3000)
    end, commands, _ = send(config, [slow, slow], budget=Budget(4.0))
    assert type(end) is ProviderUnavailable
    assert requests(commands) == 2
    end, commands, _ = send(config, [(401, "{}")], budget=Budget(0.007))
    assert type(end) is ProviderUnavailable
    assert [type(command) for command in commands] == [NeedToken, Request]


@pytest.mark.parametrize(("seconds", "script"), [(0.004, []), (0.012, [(401, "{}")])])
def test_no_request_after_a_token_that_took_too_long(config: conf.Config, seconds: float, script: list[Any]) -> None:
    """Before the fix, the message was sent after the end of its claim, so another process sent it too."""
    end, commands, _ = send(config, script, budget=Budget(seconds))
    assert type(end) is ProviderUnavailable
    assert "took too long to issue an access token" in str(end)
    assert (type(commands[-1]), requests(commands)) == (NeedToken, len(script))


def test_a_stopping_process_sends_no_further_request(config: conf.Config) -> None:
    running = conversation.send(config, "0772123456", "x", "", lambda exchange: None)
    running.send(None)
    running.send(AccessToken("token"))
    assert isinstance(running.throw(UNSENT), Pause)
    with pytest.raises(ProviderUnavailable):
        running.send(False)


GIVES = (200, '{"access_token": "opaque"}')
UNKNOWN = (404, '{"error": "Account Not Found", "status_code": 404}')


@pytest.mark.parametrize(
    ("path", "script", "end", "asked"),
    [
        ("/api/get_token/", [GIVES], "/api/get_token/", ["/api/"]),
        ("/api/get_token/", [(404, "<html>"), GIVES], "/v3/api/get_token/", ["/api/", "/v3/api/"]),
        ("/v3/api/get_token/", [(404, "<html>"), GIVES], "/api/get_token/", ["/v3/api/", "/api/"]),
        ("/mine/", [(404, ""), GIVES], "/v3/api/get_token/", ["/mine/", "/v3/api/"]),
        ("/api/get_token/", [UNKNOWN, (404, "<html>")], AuthenticationFailed, ["/api/", "/v3/api/"]),
        ("/api/get_token/", [(404, ""), (401, "{}")], AuthenticationFailed, ["/api/", "/v3/api/"]),
        ("/api/get_token/", [(401, "{}")], AuthenticationFailed, ["/api/"]),
        # A token request may always be repeated.
        ("/api/get_token/", [CUT, LATE, GIVES], "/api/get_token/", ["/api/"] * 3),
        ("/api/get_token/", [(200, "<html>")], ProviderUnavailable, ["/api/"]),
    ],
)
def test_the_token(config: conf.Config, path: str, script: list[Any], end: Any, asked: list[str]) -> None:
    end_came, commands = drive(
        conversation.fetch_token(replace(config, token_path=path), lambda exchange: None), script
    )
    assert end_came == ("opaque", end) if isinstance(end, str) else type(end_came) is end
    paths = [command.url.removeprefix("http://127.0.0.1:1") for command in commands if isinstance(command, Request)]
    assert [found.removesuffix("get_token/") for found in paths] == asked


def test_a_report_request_has_both_keys_and_is_repeated_without_a_response(config: conf.Config) -> None:
    script = [LATE, (504, ""), (200, '{"status": "delivered"}')]
    word, commands = drive(conversation.report(config, "0913", lambda exchange: None), script)
    assert word == "DELIVERED"
    assert commands[1].payload == b'{"msg_id": "0913", "msgId": "0913"}'


def test_no_request_while_sms_is_off(config: conf.Config) -> None:
    with pytest.raises(SmsDisabled):
        next(conversation.send(replace(config, password=""), "0772123456", "x", "", lambda exchange: None))
