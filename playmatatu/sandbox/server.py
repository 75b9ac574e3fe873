"""A fake game server. On its page a player chooses a result, and the fake reports the signed result to the site."""

import hashlib
import hmac
import json
import logging
import re
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlsplit

import requests
from django.conf import settings
from django.template import Context, Engine

from playmatatu.sandbox.money import server
from sms.sandbox.server import Handler as BaseHandler

logger = logging.getLogger("playmatatu.sandbox")
_TABLE = re.compile(r"/table/(\w+)")
_ENGINE = Engine(dirs=[str(Path(__file__).parent)])
_OUTCOMES = ("win", "draw", "void")
_SECONDS = 10


class Handler(server.Handler):
    def get(self, path: str) -> bool:
        found = _TABLE.fullmatch(path)
        if found is None:
            return super().get(path)
        query = dict(parse_qsl(urlsplit(self.path).query))
        self._table(found[1], query.get("pt", ""), done="done" in query)
        return True

    def post(self, path: str, raw: bytes) -> bool:
        found = _TABLE.fullmatch(path)
        if found is None:
            return super().post(path, raw)
        fields = dict(parse_qsl(raw.decode(errors="replace")))
        token, pt = found[1], fields.get("pt", "")
        error = self._report(token, fields.get("outcome", ""), pt)
        if error:
            self._table(token, pt, 400, error)
        else:
            self.answer(303, b"", "text/plain", Location=f"/table/{token}?pt={quote(pt)}&done=1")
        return True

    def _table(self, token: str, pt: str, status: int = 200, error: str = "", *, done: bool = False) -> None:
        """Show the page of a match to the player with the token `pt`. The data comes from the site's API."""
        site = self.server.page.links.site
        try:
            answer = requests.get(f"{site}/api/v1/game/{token}", {"pt": pt}, timeout=_SECONDS)
            match: dict[str, Any] = answer.json()
        except (requests.RequestException, ValueError):
            match = {"error": "The site does not answer."}
        values = {"match": match, "token": token, "pt": pt, "error": error, "done": done, "site": site}
        values |= {"known": "status" in match, "prize": f"{match.get('prize_amount', 0):,}"}
        html = _ENGINE.get_template("table.html").render(Context(values))
        self.answer(status if values["known"] else 404, html.encode(), "text/html; charset=utf-8")

    def _report(self, token: str, outcome: str, pt: str) -> str:
        """Report the result to the site, as a game server does. Return an error as a sentence, or ""."""
        if outcome not in _OUTCOMES:
            return "Choose a result."
        body = json.dumps({"outcome": outcome} | ({"winner": pt} if outcome == "win" else {})).encode()
        digest = hmac.new(settings.GAME_SERVER_SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Game-Signature": f"sha256={digest}"}
        url = f"{self.server.page.links.site}/api/v1/game/{token}/result"
        try:
            answer = requests.post(url, body, headers=headers, timeout=_SECONDS, allow_redirects=False)
            return "" if answer.status_code == 200 else str(answer.json()["error"])
        except (requests.RequestException, ValueError, KeyError) as error:
            logger.warning("sandbox: the result was not reported (%s)", type(error).__name__)
            return "The site does not answer."


class Server(server.Server):
    handler_class: ClassVar[type[BaseHandler]] = Handler
