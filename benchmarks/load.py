"""The whole house under load: players who stake, pay and join, over HTTP; then whether each event had its one text.

    python -m benchmarks.load                        # a minute, 16 players, one process of each sort
    python -m benchmarks.load --money dmarkpay       # paid on the sandbox's phones, not by signed callbacks
    python -m benchmarks.load --seconds 600 --sites 3 --workers 4 --game-workers 2 --kill-every 5 --hosts

Starts PostgreSQL (`fsync` on), Redis, the sandbox, sites and workers itself, on this machine alone. `--hosts`: each
site and worker gets a host's name and a clock of its own, as root. `--kill-every`: each so
many seconds one of them is ended by SIGKILL and begun anew. It ends with 1 where anything was lost, refused or asked
twice.
"""

import argparse
import itertools
import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from typing import Any

import requests

from benchmarks.common import say, tidy_when_told_to_end
from benchmarks.house import SECRET, House
from tests.audit import AUDIT, IN_FLIGHT, UNWRITTEN
from tests.servers import Postgres, RedisServer, postgres_programs, redis_program, wait_for

NO_ANSWER = "no answer"
# What the books leave to a person without a mistake: who met nobody in time is owed the stake; and an order whose
# process was killed in the middle is not repeated.
OWED, IN_DOUBT = "Refund due, without a refund.", "In doubt: the provider may have asked for it, and has named no id."


class Players:
    """Threads that stake and pay as fast as they are answered; what got no answer is tried at another site."""

    def __init__(self, house: House, lanes: int) -> None:
        self.house = house
        self.until = time.monotonic() + house.options.seconds
        self.broken: list[str] = []
        self.took: dict[str, list[float]] = defaultdict(list)
        self.said: dict[str, Counter[str]] = defaultdict(Counter)
        self.threads = [threading.Thread(target=self._play, args=(lane,), daemon=True) for lane in range(lanes)]
        for thread in self.threads:
            thread.start()

    def _play(self, lane: int) -> None:
        try:
            self._stake_and_pay(lane)
        except Exception as error:
            self.broken.append(f"a player gave up: {error!r}")
            raise

    def _stake_and_pay(self, lane: int) -> None:
        session = requests.Session()
        session.trust_env = False
        sites = itertools.cycle(self.house.sites[lane % len(self.house.sites) :] + self.house.sites)
        for number in itertools.count():
            time.sleep(self.house.options.pause)
            if time.monotonic() > self.until:
                return
            phone = f"077{lane:02}{number % 100_000:05}"
            private = number % 4 == 0
            body: dict[str, Any] = {"phone_number": phone, "stake_amount": 1000}
            if private:
                body |= {"create_private": True, "invite_phone": f"070{lane:02}{number % 100_000:05}"}
            placed = self._ask(session, sites, "stake", "/api/v1/game/stake", body)
            if not placed or not self._pay(session, sites, placed, phone) or not private:
                continue
            status = f"/api/v1/game/queue/status?queue_token={placed['queue_token']}"
            code = (self._ask(session, sites, "status", status) or {}).get("match_code")
            if code:
                friend = f"070{lane:02}{number % 100_000:05}"
                joined = {"phone_number": friend, "stake_amount": 1000, "match_code": code}
                answer = self._ask(session, sites, "stake", "/api/v1/game/stake", joined)
                if answer:
                    self._pay(session, sites, answer, friend)

    def _pay(self, session: requests.Session, sites: Any, placed: dict[str, Any], phone: str) -> bool:
        if self.house.options.money == "dmarkpay":
            return False  # its phone does, in its own time
        paid = {
            "transaction_id": placed["transaction_id"],
            "phone_number": phone,
            "amount": placed["total_amount"],
            "status": "SUCCESS",
        }
        headers = {"X-Callback-Secret": SECRET}
        return bool(self._ask(session, sites, "callback", "/api/v1/momo/callback", paid, headers))

    def _ask(
        self,
        session: requests.Session,
        sites: Any,
        what: str,
        path: str,
        body: "dict[str, Any] | None" = None,
        headers: "dict[str, str] | None" = None,
    ) -> "dict[str, Any] | None":
        for _ in range(5):
            url = f"{next(sites)}{path}"
            started = time.perf_counter()
            try:
                if body is None:
                    answer = session.get(url, timeout=30)
                else:
                    answer = session.post(url, json=body, headers=headers, timeout=30)
            except requests.RequestException:
                self.said[what][NO_ANSWER] += 1
                time.sleep(0.2)
                continue
            self.took[what].append((time.perf_counter() - started) * 1000)
            self.said[what][str(answer.status_code)] += 1
            return dict(answer.json()) if answer.ok else None
        return None

    def done(self) -> int:
        return sum(len(took) for took in list(self.took.values()))


def run(house: House) -> Players:
    before = house.cpu()
    players = Players(house, house.options.players)
    began, next_line, next_kill = time.monotonic(), 10.0, house.options.kill_every or float("inf")
    while any(thread.is_alive() for thread in players.threads):
        time.sleep(0.1)
        passed = time.monotonic() - began
        if passed >= next_line:
            kills = f", {sum(house.kills.values())} kills" if house.options.kill_every else ""
            say(f"{passed:4.0f} s: {players.done():,} answers{kills}")
            next_line += 10
        if passed >= next_kill and time.monotonic() < players.until:
            house.kill_one()
            next_kill += house.options.kill_every
    stakes = len(players.took["stake"])
    if stakes and not house.options.kill_every:
        shares = (f"{name} {(after - before[name]) / stakes * 1000:.1f}" for name, after in house.cpu().items())
        say("CPU a stake, ms:", ", ".join(shares))
    return players


# From the stake's row to the provider's answer that the phone rings.
RINGING = """
    SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
        ORDER BY EXTRACT(EPOCH FROM asked.at - payment.created_at) * 1000)
    FROM payments_exchange asked JOIN payments_payment payment ON payment.id = asked.payment_id
    WHERE asked.step = 'collect'
"""


def under_way(house: House) -> int:
    """Texts and orders for money that have no end yet."""
    texts = house.sql("SELECT count(*) FROM sms_smsmessage WHERE status IN ('queued', 'sending')")[0][0]
    orders = house.sql("SELECT count(*) FROM payments_payment WHERE collection IN ('due', 'asking', 'asked')")[0][0]
    return int(texts) + int(orders)


def differences(house: House) -> list[str]:
    """What is not as it should be, once all is at rest."""
    house.manage("expire_queue")
    wait_for(lambda: under_way(house) == 0, 300, every=0.2)
    wrong = []
    out = house.manage("shell", "-v0", "-c", AUDIT).stdout
    audit = json.loads(out[out.index("AUDIT") + 6 :])
    wrong += [f"without its text: {what}" for what in audit["missing"][:20]]
    ends = dict(house.sql("SELECT status, count(*) FROM sms_smsmessage GROUP BY status"))
    accepted = sum(ends.pop(status, 0) for status in ("sent", "delivered", "undelivered"))
    cancelled = ends.pop("cancelled", 0) + ends.pop("expired", 0)
    counts = house.counts()
    texts = counts["texts"]
    doubles = texts["taken"] - texts["different"]
    killed = sum(count for name, count in house.kills.items() if name.startswith("sms"))
    bound = killed * (IN_FLIGHT + UNWRITTEN)
    say(
        f"texts: {accepted:,} accepted by our books ({cancelled} no longer worth sending), {texts['different']:,} at "
        f"the phones, {doubles} came twice (at most {bound} may, after {killed} kills of sms_worker)"
    )
    if ends:
        wrong.append(f"texts of another end: {ends}")
    if texts["different"] != accepted:
        wrong.append("the texts at the phones are not those of our books")
    if doubles > bound:
        wrong.append("more texts came twice than may")
    asked = counts["money"]["asked"]["payin"]
    if house.options.money == "dmarkpay":
        twice = [name for name, times in asked.items() if times > 1]
        say(f"orders for money: {len(asked):,}, asked twice: {len(twice)}")
        rang = "".join(f" {milliseconds:.0f} ms" for milliseconds in house.sql(RINGING)[0][0])
        say(f"from the stake to the ringing phone, p50, p99, longest:{rang}")
        wrong += [f"asked twice: {name}" for name in twice[:20]]
        books = house.manage("reconcile_payments")
        found = Counter(line.partition("): ")[2] for line in books.stdout.splitlines() if line.startswith("payment "))
        for what, count in found.items():
            say(f"reconcile_payments: {count} x {what}")
        if books.returncode and f"CommandError: {found.total()} differences since" not in books.stderr:
            wrong.append(f"the books could not be read: {books.stderr[-300:]}")
        left = {OWED, IN_DOUBT} if house.kills else {OWED}
        wrong += [f"{count} x {what}" for what, count in found.items() if what not in left]
    return wrong


def percentile(took: list[float], share: float) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * share))]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The whole house under load.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--players", type=int, default=16)
    parser.add_argument("--pause", type=float, default=0, help="seconds that each player waits before a stake")
    parser.add_argument("--money", choices=("callback", "dmarkpay"), default="callback")
    for name in ("--sites", "--workers", "--game-workers"):
        parser.add_argument(name, type=int, default=1)
    parser.add_argument("--kill-every", type=float, default=0)
    parser.add_argument("--hosts", action="store_true")
    given = parser.parse_args()
    if given.hosts and os.geteuid() != 0:
        raise SystemExit("--hosts needs root: a host's name is given by `unshare --uts`.")
    return given


def main() -> None:
    given = options()
    programs, redis_path = postgres_programs(), redis_program()
    if programs is None or redis_path is None:
        raise SystemExit("PostgreSQL's programs and redis-server are needed.")
    tidy_when_told_to_end()
    postgres, cache = Postgres(programs, durable=True), RedisServer(redis_path)
    postgres.create()
    cache.start()
    house = House(given, postgres, cache)
    try:
        house.start_all()
        usual = {"report": "never", "phones": "pay", "phones_after": 0.5, "callback": "after"}
        requests.post(f"{house.sandbox}/faults", json=usual, timeout=10).raise_for_status()
        players = run(house)
        say(f"{'':10} {'answers':>8} {'a second':>9} {'p50':>8} {'p99':>8} {'longest':>8}   said")
        for what, took in players.took.items():
            rate = f"{len(took) / given.seconds:.0f}"
            times = "".join(f" {percentile(took, share):5.0f} ms" for share in (0.5, 0.99, 1.0))
            say(f"{what:10} {len(took):8,} {rate:>9} {times}   {dict(players.said[what])}")
        wrong = differences(house)
        for what, said in players.said.items():
            allowed = {"200", NO_ANSWER, "409"} if given.kill_every else {"200"}
            wrong += [f"{what}: {count} × {status}" for status, count in said.items() if status not in allowed]
        wrong += players.broken
        wrong += [f"{what}: none was taken" for what, said in players.said.items() if not said["200"]]
        for line in wrong:
            say("WRONG", line)
        say("nothing was lost" if not wrong else f"{len(wrong)} differences")
    finally:
        house.stop()
        cache.stop()
        postgres.remove()
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
