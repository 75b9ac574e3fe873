"""The whole service under load: players who stake, pay, poll and join, over HTTP; then an audit of what they got.

    python -m benchmarks.load                        # a minute, 16 players, one process of each kind
    python -m benchmarks.load --players 8 --against af69b05 --rounds 3
    python -m benchmarks.load --players 32 --placed 2000     # only callbacks, all for one amount
    python -m benchmarks.load --money dmarkpay       # requested over TLS and paid on the sandbox's phones
    python -m benchmarks.load --upgrade-from v0.2.0 --seconds 30 --money dmarkpay
    python -m benchmarks.load --seconds 600 --sites 3 --workers 4 --game-workers 2 --kill-every 5 --hosts

Starts PostgreSQL (`fsync` on), Redis, the sandbox, sites and workers on this machine. Delivery reports are on, a
quarter of the stakes are private matches with an invite, and each player polls the stake's status.

`--against`: another commit, in a worktree of its own, runs alternately with this one. `--upgrade-from`: the former
release runs alone for 10 s. Then this commit migrates the tables under load, and its sites and workers run beside the
former ones for the given seconds. `--hosts` (as root): each site and worker gets its own host name and
clock. `--kill-every`: seconds between two kills (SIGKILL) of a process, which is then
started again. Exits with 1 if anything was lost, refused or requested twice.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import requests

from benchmarks.common import ROOT, idle_seconds, say, tidy_when_told_to_end
from benchmarks.players import NO_ANSWER, Players
from benchmarks.service import Service
from tests.audit import AUDIT, IN_FLIGHT, UNWRITTEN
from tests.servers import Postgres, RedisServer, postgres_programs, redis_program, wait_for

# Seconds for which the former release runs before `--upgrade-from` starts this commit.
FORMER_ALONE = 10.0
# Differences that are not errors: an unmatched stake is due for refund, and a payment request is not repeated after a
# kill.
OWED, AMBIGUOUS = "Refund due", "the provider may have asked for it"


class Run(NamedTuple):
    paid_a_second: float
    cpu_ms: dict[str, float]
    wrong: list[str]


def under_load(service: Service, players: Players) -> None:
    players.start()
    began, next_line, next_kill = time.monotonic(), 10.0, service.options.kill_every or float("inf")
    upgrade_at = float("inf")
    if service.former:
        upgrade_at, players.until = FORMER_ALONE, float("inf")
    while any(thread.is_alive() for thread in players.threads):
        time.sleep(0.1)
        passed = time.monotonic() - began
        if passed >= next_line:
            kills = f", {sum(service.kills.values())} kills" if service.options.kill_every else ""
            say(f"{passed:4.0f} s: {players.done():,} answers{kills}")
            next_line += 10
        if passed >= upgrade_at:
            upgrade_at = float("inf")
            service.upgrade()
            service.options.seconds += time.monotonic() - began
            players.until = began + service.options.seconds
            say(f"{time.monotonic() - began:4.0f} s: this commit runs beside {service.options.upgrade_from}")
        if passed >= next_kill and time.monotonic() < players.until:
            service.kill_one()
            next_kill += service.options.kill_every


def measure(service: Service) -> Run:
    """Run the players against a started service, and check the database afterwards."""
    given = service.options
    players = Players(service)
    players.warm_up()
    locks_before, before, idle_before = len(service.lock_times()), service.cpu(), idle_seconds()
    began = time.monotonic()
    under_load(service, players)
    seconds = time.monotonic() - began
    after, idle_share = service.cpu(), (idle_seconds() - idle_before) / seconds / (os.cpu_count() or 1)
    # With DMarkPay the sandbox's phones pay the stakes. Otherwise callbacks pay them.
    paying = "stake" if given.money == "dmarkpay" else "callback"
    paid = players.said[paying]["200"] or 1
    cpu_ms = {name: (used - before.get(name, 0.0)) / paid * 1000 for name, used in sorted(after.items())}
    if given.kill_every:
        cpu_ms = {}
    say(f"{'':10} {'answers':>8} {'a second':>9} {'p50':>8} {'p99':>8} {'longest':>8}   statuses")
    for what, took in players.took.items():
        rate = f"{len(took) / seconds:.0f}"
        times = "".join(f" {percentile(took, share):5.0f} ms" for share in (0.5, 0.99, 1.0))
        say(f"{what:10} {len(took):8,} {rate:>9} {times}   {dict(players.said[what])}")
    say(
        f"CPU ms for each paid stake: {sum(cpu_ms.values()):.1f} =",
        " + ".join(f"{name} {spent:.1f}" for name, spent in cpu_ms.items()),
        f"({idle_share:.0%} of the machine was idle)",
    )
    if held := service.lock_times()[locks_before:]:
        times = ", ".join(f"{percentile(held, share):.1f}" for share in (0.5, 0.99, 1.0))
        say(f"ms for which a stake level was locked, p50, p99, longest: {times}")
    wrong = [*differences(service), *players.broken]
    allowed = {"200", "304"} | ({NO_ANSWER, "409"} if given.kill_every else set())
    for what, said in players.said.items():
        wrong += [f"{what}: {count} × {status}" for status, count in said.items() if status not in allowed]
        wrong += [] if said["200"] else [f"{what}: none succeeded"]
    for line in wrong:
        say("WRONG", line)
    say("nothing was lost" if not wrong else f"{len(wrong)} differences")
    return Run(paid / seconds, cpu_ms, wrong)


# --- the audit

# Each of these counts must be 0 at the end.
NONE_OF_THESE = {
    "matches without exactly two players": """
        SELECT count(*) FROM game_session match
        WHERE (SELECT count(*) FROM game_entry entry WHERE entry.session_id = match.id) <> 2""",
    "paid stakes that are inactive": """
        SELECT count(*) FROM payments_payment payment JOIN game_entry entry ON entry.payment_id = payment.id
        WHERE payment.status = 'SUCCESS' AND entry.opened_at IS NULL AND NOT payment.refund_due""",
    "amounts for which two players wait": """
        SELECT count(*) FROM (
            SELECT stake_amount FROM game_entry WHERE status = 'queued' AND match_code IS NULL AND expires_at > now()
            GROUP BY stake_amount HAVING count(*) > 1) waiting""",
}
# Milliseconds from each stake to its payment request.
REQUESTED = """
    SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM asked_at - created_at) * 1000)
    FROM payments_payment WHERE asked_at IS NOT NULL
"""


def differences(service: Service) -> list[str]:
    """Return the differences from the expected state, after all work is done."""
    service.manage("expire_queue")
    wait_for(lambda: under_way(service) == 0, 300, every=0.2)
    counts = service.counts()
    wrong = [f"{found} {what}" for what, sql in NONE_OF_THESE.items() if (found := service.sql(sql)[0][0])]
    wrong += _messages(service, counts["texts"])
    if service.options.money == "dmarkpay":
        wrong += _money(service, counts["money"]["asked"]["payin"])
    return wrong


def under_way(service: Service) -> int:
    """Return the number of messages and payment requests without a final status."""
    messages = service.sql("SELECT count(*) FROM sms_smsmessage WHERE status IN ('queued', 'sending')")[0][0]
    open_requests = "SELECT count(*) FROM payments_payment WHERE collection IN ('due', 'asking', 'asked')"
    return int(messages) + int(service.sql(open_requests)[0][0])


def _messages(service: Service, texts: dict[str, int]) -> list[str]:
    out = service.manage("shell", "-v0", "-c", AUDIT).stdout
    audit = json.loads(out[out.index("AUDIT") + 6 :])
    wrong = [f"without its message: {what}" for what in audit["missing"][:20]]
    ends = dict(service.sql("SELECT status, count(*) FROM sms_smsmessage GROUP BY status"))
    accepted = sum(ends.pop(status, 0) for status in ("sent", "delivered", "undelivered"))
    not_wanted = ends.pop("cancelled", 0) + ends.pop("expired", 0)
    doubles = texts["taken"] - texts["different"]
    killed = sum(count for name, count in service.kills.items() if name.startswith("sms"))
    bound = killed * (IN_FLIGHT + UNWRITTEN)
    say(
        f"messages: {accepted:,} accepted ({not_wanted} no longer wanted), {texts['different']:,} at the phones, "
        f"{doubles} twice (at most {bound} may be, after {killed} kills of sms_worker)"
    )
    if ends:
        wrong.append(f"messages with another end: {ends}")
    if texts["different"] != accepted:
        wrong.append("the messages at the phones are not those that were accepted")
    if doubles > bound:
        wrong.append("more messages arrived twice than may")
    return wrong


def _money(service: Service, requested: dict[str, int]) -> list[str]:
    twice = [name for name, times in requested.items() if times > 1]
    say(f"payment requests: {len(requested):,}, sent twice: {len(twice)}")
    times = "".join(f" {milliseconds:.0f} ms" for milliseconds in service.sql(REQUESTED)[0][0])
    say(f"from the stake to the payment request, p50, p99, longest:{times}")
    wrong = [f"requested twice: {name}" for name in twice[:20]]
    books = service.manage("reconcile_payments")
    found = Counter(line.partition("): ")[2] for line in books.stdout.splitlines() if line.startswith("payment "))
    for what, count in found.items():
        say(f"reconcile_payments: {count} x {what}")
    if books.returncode and "difference" not in books.stderr:
        wrong.append(f"reconcile_payments failed: {books.stderr[-300:]}")
    allowed = (OWED, AMBIGUOUS) if service.kills else (OWED,)
    return wrong + [f"{count} x {what}" for what, count in found.items() if not any(part in what for part in allowed)]


def percentile(took: list[float], share: float) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * share))]


# --- runs


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check out another commit in a worktree of its own."""
    folder = Path(tempfile.mkdtemp(prefix="playmatatu-tree-"))
    subprocess.run(["git", "worktree", "add", "-q", "--detach", folder, commit], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=True)


def run(given: argparse.Namespace, tree: Path, former: "Path | None" = None) -> Run:
    programs, redis_path = postgres_programs(), redis_program()
    if programs is None or redis_path is None:
        raise SystemExit("PostgreSQL's programs and redis-server are needed.")
    postgres, cache = Postgres(programs, durable=True), RedisServer(redis_path)
    postgres.create()
    cache.start()
    service = Service(given, postgres, cache, tree, former)
    try:
        service.start_all()
        usual = {"phones": "pay", "phones_after": 0.5, "callback": "after"}
        requests.post(f"{service.sandbox}/faults", json=usual, timeout=10).raise_for_status()
        return measure(service)
    finally:
        service.stop()
        cache.stop()
        postgres.remove()


def compare(given: argparse.Namespace) -> list[str]:
    """Run both commits alternately, and print the medians. Return the errors of this commit."""
    ours, theirs = [], []
    with checkout(given.against) as other:
        for number in range(given.rounds):
            say(f"--- round {number + 1}: {given.against}")
            theirs.append(run(given, other).paid_a_second)
            say(f"--- round {number + 1}: this commit")
            ours.append(run(given, ROOT))
    now, then = median(one.paid_a_second for one in ours), median(theirs)
    say(f"paid stakes a second (medians): {now:.0f} now, {then:.0f} at {given.against}, {now / then:.2f} ×")
    for name in ours[0].cpu_ms:
        say(f"CPU ms for each paid stake, {name}: {median(one.cpu_ms.get(name, 0.0) for one in ours):.1f}")
    return [line for one in ours for line in one.wrong]


def upgrade(given: argparse.Namespace) -> list[str]:
    """Run the former release, then both releases on the same tables. Return the errors."""
    with checkout(given.upgrade_from) as former:
        return run(given, ROOT, former).wrong


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The whole service under load.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10, help="seconds before the measurement")
    parser.add_argument("--players", type=int, default=16)
    parser.add_argument("--threads", type=int, help="threads of each process of the site (default: gunicorn.conf.py)")
    parser.add_argument("--pause", type=float, default=0, help="seconds that each player waits before a stake")
    parser.add_argument("--polls", type=int, default=4, help="polls of the status after each payment")
    parser.add_argument("--amounts", type=int, default=1, help="number of different stakes")
    parser.add_argument("--placed", type=int, default=0, help="stakes placed first, so that only payments are measured")
    parser.add_argument("--money", choices=("callback", "dmarkpay"), default="callback")
    for name in ("--sites", "--workers", "--game-workers"):
        parser.add_argument(name, type=int, default=1)
    parser.add_argument("--kill-every", type=float, default=0)
    parser.add_argument("--hosts", action="store_true")
    parser.add_argument("--against", metavar="COMMIT", help="measure this commit too, in turn")
    parser.add_argument("--upgrade-from", metavar="COMMIT", help="run this commit first, then beside this one")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each commit with --against")
    given = parser.parse_args()
    if given.hosts and os.geteuid() != 0:
        raise SystemExit("--hosts needs root, because `unshare --uts` sets the host names.")
    return given


def main() -> None:
    given = options()
    tidy_when_told_to_end()
    if given.against:
        sys.exit(bool(compare(given)))
    sys.exit(bool(upgrade(given) if given.upgrade_from else run(given, ROOT).wrong))


if __name__ == "__main__":
    main()
