"""Fault profiles. A seed draws up to three of them.

A profile is a whole course of faults. Single random faults missed most of the known defects. The faults of a profile
end at the time `until`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from django.db import OperationalError, transaction

from sms import outbox
from sms.dlr.statuses import record_report
from sms.models import SmsMessage, SmsPause
from sms.sending import pauses
from tests.simulation.network import ANSWERED, CLOSED, CUT, RESET, SILENT, Plan
from tests.simulation.scheduler import Process
from tests.simulation.world import IN_FLIGHT, World

Profile = Callable[[World, Random, float], None]
PROFILES: list[Profile] = []
SETTLE = 75.0


def profile(function: Profile) -> Profile:
    PROFILES.append(function)
    return function


def _times(random: Random, until: float, most: int) -> list[float]:
    return sorted(round(random.uniform(1.0, until), 3) for _ in range(random.randint(1, most)))


def _healthy(number: int) -> tuple[Plan, bool]:
    return Plan(0.05), True


def _each(world: World, what: str, call: Callable[[Process], None]) -> Callable[[int], None]:
    """Return a function that applies a fault to one of the running workers, chosen by its rank."""

    def apply(rank: int) -> None:
        if workers := world.workers():
            call(workers[rank % len(workers)])

    apply.__name__ = what
    return apply


@profile
def slow_provider(world: World, random: Random, until: float) -> None:
    """The provider responds at about the time of a timeout."""
    seconds = random.choice((0.5, 2.0, 2.9, 3.1, 5.0))

    def behave(number: int) -> tuple[Plan, bool]:
        return Plan(seconds * world.scheduler.draw("slow").uniform(0.8, 1.2)), True

    world.at(0.0, f"the provider takes {seconds} s", setattr, world.provider, "behave", behave)
    world.at(until, "the provider is fast", setattr, world.provider, "behave", _healthy)


@profile
def lossy_provider(world: World, random: Random, until: float) -> None:
    """Responses are lost, cut or reset. The message may have been accepted."""
    share = random.choice((0.1, 0.4, 1.0))

    def behave(number: int) -> tuple[Plan, bool]:
        draw = world.scheduler.draw("lossy")
        if draw.random() > share:
            return Plan(0.05), True
        return Plan(0.05, draw.choice((RESET, CLOSED, CUT, SILENT))), draw.random() < 0.6

    world.at(0.0, f"{share:.0%} of the answers are lost", setattr, world.provider, "behave", behave)
    world.at(until, "answers arrive", setattr, world.provider, "behave", _healthy)


@profile
def failing_provider(world: World, random: Random, until: float) -> None:
    """The provider responds with 400, 429, 500, 503 or 504."""
    status = random.choice((400, 429, 500, 503, 504))
    share = random.choice((0.2, 1.0))

    def behave(number: int) -> tuple[Plan, bool]:
        fails = world.scheduler.draw("failing").random() < share
        return Plan(0.05, ANSWERED, status if fails else 200, b"{}"), not fails

    world.at(0.0, f"the provider answers {status} to {share:.0%}", setattr, world.provider, "behave", behave)
    world.at(until, "the provider is well", setattr, world.provider, "behave", _healthy)


@profile
def connections(world: World, random: Random, until: float) -> None:
    """Connections are refused, not answered, or closed while they are idle."""
    name = random.choice(("refuses_connections", "drops_connections"))
    for start in _times(random, until - 3, 3):
        world.at(start, name, setattr, world.provider, name, True)
        world.at(start + 2.5, f"no longer {name}", setattr, world.provider, name, False)
    share = random.choice((0.0, 0.5, 1.0))
    world.at(0.0, f"{share:.0%} of kept connections are dead", setattr, world.provider, "loses_kept_connections", share)
    world.at(until, "kept connections live", setattr, world.provider, "loses_kept_connections", 0.0)


@profile
def tokens(world: World, random: Random, until: float) -> None:
    """Tokens expire at any moment. Token requests may fail for a while."""
    for when in _times(random, until, 6):
        world.at(when, "the token expires", world.provider.expire_token)
    if random.random() < 0.5:
        status = random.choice((401, 500, 503))
        start = random.uniform(0, until / 2)
        healthy = world.provider.behave_token
        failing = Plan(0.05, ANSWERED, status)
        world.at(start, f"token requests get {status}", setattr, world.provider, "behave_token", lambda: failing)
        world.at(until, "token requests work", setattr, world.provider, "behave_token", healthy)


@profile
def crash_loop(world: World, random: Random, until: float) -> None:
    """Workers are killed again and again, and restarted."""
    pause = random.choice((0.3, 2.0, 8.0))
    if random.random() < 0.5:
        # Longer than four expired leases, so that a message is sent by more than four workers.
        pause, until = 2.0, until + 60.0
        world.more_seconds += 60.0
        world.backlog(range(3500, 3530))
        world.provider.behave = lambda number: (Plan(5.0, SILENT), True)
        world.at(until, "the provider answers", setattr, world.provider, "behave", _healthy)
    when, number = random.uniform(0.5, 4.0), 0
    while when < until:
        number += 1
        world.at(when, "kill -9 of a worker", _each(world, "kill", world.kill), random.randrange(3))
        world.at(when + 0.2, "a worker starts", world.worker, f"again{number}")
        when += pause * random.uniform(0.5, 1.5) + 0.3


@profile
def suspensions(world: World, random: Random, until: float) -> None:
    """Workers are suspended for up to 18 seconds."""
    for when in _times(random, until - 18, 3):
        seconds = random.uniform(0.5, 18.0)
        suspend = _each(world, "suspend", lambda process, s=seconds: world.scheduler.suspend(process, s))  # type: ignore[misc]
        world.at(when, f"a worker is suspended for {seconds:.1f} s", suspend, random.randrange(3))
    world.last_fault = max(world.last_fault, until)


@profile
def restarts(world: World, random: Random, until: float) -> None:
    """Workers are stopped with SIGTERM and started again. Half of the seeds add a queue and a slow provider."""
    if random.random() < 0.5:
        world.backlog(range(1500, 1600))
        world.provider.behave = lambda number: (Plan(2.9), True)
        world.at(until, "the provider is fast", setattr, world.provider, "behave", _healthy)
    for number, when in enumerate(_times(random, until, 4)):
        world.at(when, "SIGTERM to a worker", _each(world, "stop", world.stop), random.randrange(3))
        world.at(when + 0.3, "a worker starts", world.worker, f"next{number}")


@profile
def slow_cache(world: World, random: Random, until: float) -> None:
    """Redis is slow or unavailable."""
    seconds = random.choice((0.05, 0.6, 1.5))
    world.at(0.0, f"the cache takes {seconds} s a call", setattr, world.cache, "latency", seconds)
    if random.random() < 0.3:
        world.at(until, "the cache is fast", setattr, world.cache, "latency", 0.0005)
    if random.random() < 0.4:
        start = random.uniform(0, until / 2)
        world.at(start, "the cache is gone", setattr, world.cache, "gone", True)
        world.at(until, "the cache is back", setattr, world.cache, "gone", False)


@profile
def slow_owner(world: World, random: Random, until: float) -> None:
    """The app that queued the messages takes long to decide if they are worth sending."""
    seconds = random.choice((0.4, 1.1, 5.0, 8.0))
    world.at(0.0, f"the owner takes {seconds} s", setattr, world, "judge_seconds", seconds)
    if random.random() < 0.3:
        world.at(until, "the owner is fast", setattr, world, "judge_seconds", 0.0)


@profile
def slow_receivers(world: World, random: Random, until: float) -> None:
    """Receivers of the signal `sms_sent` are slow, or hang."""
    seconds = random.choice((0.2, 2.0, 1e6))
    world.at(0.0, f"receivers take {seconds} s", setattr, world, "receiver_seconds", seconds)
    world.backlog(range(2500, 2560))


@profile
def database_hiccups(world: World, random: Random, until: float) -> None:
    """The database is slow, hangs, or is unavailable, for one process or for all."""
    for when in _times(random, until - 9, 4):
        kind = random.choice(("db_hangs_until", "db_gone_until", "answers_to_lose"))
        seconds = random.choice((random.uniform(0.3, 9.0), 20.0))
        everybody = random.random() < 0.5
        rank = random.randrange(3)

        def apply(kind: str = kind, seconds: float = seconds, *, everybody: bool = everybody, rank: int = rank) -> None:
            workers = world.workers()
            chosen = world.processes if everybody else workers[rank % len(workers) :][:1] if workers else []
            for process in chosen:
                if process is not world.site:
                    setattr(process, kind, 1 if kind == "answers_to_lose" else world.now + seconds)

        world.at(when, f"{kind} for {seconds:.1f} s, {'all' if everybody else 'one'}", apply)
    if random.random() < 0.4:
        latency = random.choice((0.05, 0.3))

        def slow(latency: float) -> None:
            for process in world.workers():
                process.db_latency = latency

        world.at(0.5, f"the database takes {latency} s a statement", slow, latency)
        world.at(until, "the database is fast", slow, 0.001)
    world.last_fault = max(world.last_fault, until)


@profile
def clock_steps(world: World, random: Random, until: float) -> None:
    """The database's clock is moved by up to a minute, forward or back."""
    world.clock_stepped = True
    for when in _times(random, until, 2):
        seconds = random.choice((-60.0, -20.0, -0.3, 0.3, 20.0, 60.0))

        def step(seconds: float = seconds) -> None:
            world.clock.database_offset += seconds

        world.at(when, f"the database's clock steps by {seconds} s", step)


@profile
def one_phone(world: World, random: Random, until: float) -> None:
    """Several messages go to one phone, with a rate limit."""
    for number in range(500, 500 + random.randint(3, 12)):
        world.at(random.uniform(0, 5), f"queue {number} for one phone", world.queue, number, "0772999999")


@profile
def backlog(world: World, random: Random, until: float) -> None:
    """The queue is longer than a claim."""
    size = random.choice((30, 120))
    world.backlog(range(1000, 1000 + size))
    world.schedule.append(f"   0.00 backlog of {size}")


@profile
def fail_over(world: World, random: Random, until: float) -> None:
    """Workers are busy for longer than four leases, and one of them is killed."""
    seconds, size = random.choice((1.5, 2.5)), random.choice((100, 160))
    world.backlog(range(2000, 2000 + size))
    world.provider.behave = lambda number: (Plan(seconds), True)
    world.schedule.append(f"   0.00 backlog of {size}, the provider takes {seconds} s")
    world.more_seconds += seconds * size / IN_FLIGHT
    when = random.uniform(2.0, 10.0)
    world.at(when, "kill -9 of a worker", _each(world, "kill", world.kill), random.randrange(3))
    world.at(when + 0.5, "a worker starts", world.worker, "instead")


@profile
def dead_connection(world: World, random: Random, until: float) -> None:
    """A worker's database connection hangs until it is shut down. A new connection works."""

    def hang(process: Process) -> None:
        process.stuck, process.trouble_at = True, world.now

    for when in _times(random, until, 2):
        world.at(when, "a worker's connection hangs", _each(world, "hang", hang), random.randrange(3))


@profile
def defects(world: World, random: Random, until: float) -> None:
    """Logging a result raises an exception, and renewing leases fails. A SIGTERM follows."""
    seconds = random.choice((0.05, 2.5))
    world.provider.behave = lambda number: (Plan(seconds), True)
    world.backlog(range(3000, 3030))
    world.defective = set(random.sample(range(3000, 3030), random.randint(1, 5)))
    world.schedule.append(f"   0.00 backlog of 30, {seconds} s an answer; not logged: {sorted(world.defective)}")

    def fail(process: Process) -> None:
        process.defects = random.randint(1, 3)

    for when in _times(random, until, 3):
        world.at(when, "renewals of a worker fail", _each(world, "fail", fail), random.randrange(3))
        world.at(when + 0.1, "SIGTERM to a worker", _each(world, "stop", world.stop), random.randrange(3))
        world.at(when + 0.3, "a worker starts", world.worker, f"after{when}")


@profile
def lying_provider(world: World, random: Random, until: float) -> None:
    """For the whole run, the provider accepts some messages although it responds 5xx."""
    status, share = random.choice((500, 503)), random.choice((0.2, 0.5))

    def behave(number: int) -> tuple[Plan, bool]:
        lies = Random(f"{world.seed}/{number}").random() < share
        return Plan(0.05, ANSWERED, status if lies else 200, b"{}"), True

    world.at(
        0.0, f"the provider takes all and answers {status} to {share:.0%}", setattr, world.provider, "behave", behave
    )


@profile
def reports(world: World, random: Random, until: float) -> None:
    """Maintenance and polls for reports run every few seconds. An operator resends messages that did not arrive."""
    world.maintenance = random.choice((3.0, 7.0))
    word = random.choice(("FAILED", "FAILED", "DELIVERED", "PENDING"))
    # The report on a message's first request says `word`. After a resend, the report says that the message is on its
    # way.
    world.provider.words = {f"id-{number}-1": word for number in range(4000)}
    world.provider.word = "PENDING"
    world.schedule.append(f"   0.00 polled reports say {word}")

    def resend() -> None:
        began = world.now
        for pk in outbox.resend(SmsMessage.objects.filter(dedupe_key__startswith="sim:"), "grace"):
            world.resends[int(SmsMessage.objects.get(pk=pk).text.split()[1])].append(began)

    for when in _times(random, until, 3):
        world.at(when + 10, "the operator: resend", world.do, world.site, resend)


@profile
def inline_only(world: World, random: Random, until: float) -> None:
    """There are no workers: each process sends inline, several messages per transaction. Connections are cut."""
    world.without_workers = True
    for rank in range(random.randint(2, 6)):
        process = world.process(f"inline{rank}", delivery="inline")
        process.db_latency = random.choice((0.001, 0.05, 0.5))
        numbers = [700 + 10 * rank + one for one in range(random.randint(1, 4))]
        for number in numbers:
            world.phones[number] = f"0772{number:06}"

        def send(process: Process = process, numbers: list[int] = numbers) -> None:
            def run() -> None:
                try:
                    with transaction.atomic():
                        for number in numbers:
                            outbox.queue_sms(world.phones[number], f"message {number}", dedupe_key=f"sim:{number}")
                except OperationalError:
                    world.schedule.append(f"        {process.name} could not queue its messages")

            world.do(process, run)

        when = random.uniform(0, until)
        world.at(when, f"messages {numbers} are sent inline, {process.db_latency} s a statement", send)
        if random.random() < 0.5:
            cut = when + random.uniform(0.05, 1.0 + 2 * process.db_latency)
            world.at(cut, f"the connection of {process.name} is cut", setattr, process, "cuts", 1)
    for when in _times(random, until, 2):
        seconds = random.choice((-60.0, -0.5))

        def step(seconds: float = seconds) -> None:
            world.clock.database_offset += seconds

        world.at(when, f"the database's clock steps by {seconds} s", step)


@profile
def operator(world: World, random: Random, until: float) -> None:
    """An operator resends, cancels, pauses and resumes. DMark pushes delivery reports."""

    world.maintenance = 5.0

    def resend() -> None:
        began = world.now
        for pk in outbox.resend(SmsMessage.objects.filter(dedupe_key__startswith="sim:"), "grace"):
            world.resends[int(SmsMessage.objects.get(pk=pk).text.split()[1])].append(began)

    def cancel() -> None:
        if row := SmsMessage.objects.filter(status="queued").first():
            pauses.cancel(row.pk, "grace", "no longer true")

    def pause() -> None:
        if not SmsPause.objects.exists():
            SmsPause.objects.create(reason="test", actor="grace")

    def resume() -> None:
        SmsPause.objects.all().delete()

    for when in _times(random, until, 5):
        order = random.choice((resend, cancel, pause))
        world.at(when, f"the operator: {order.__name__}", world.do, world.site, order)
        world.at(when + random.uniform(0.5, 4.0), "the operator: resume", world.do, world.site, resume)
    word = random.choice(("PENDING", "DELIVERED", "FAILED"))

    def report(number: int) -> None:
        def run() -> None:
            if row := SmsMessage.objects.filter(dedupe_key=f"sim:{number}").first():
                record_report(row.pk, word, "push")

        world.scheduler.call_at(
            world.now + world.scheduler.draw("report").uniform(0.01, 4.0), world.do, world.site, run
        )

    world.schedule.append(f"   0.00 reports say {word}")
    world.provider.on_accepted = report


@profile
def inline_senders(world: World, random: Random, until: float) -> None:
    """Processes send inline, and are killed while they send."""
    for rank in range(random.randint(1, 4)):
        process = world.process(f"inline{rank}", delivery="inline")
        number = 700 + rank
        world.phones[number] = f"0772{number:06}"

        def send(process: Process = process, number: int = number) -> None:
            def run() -> None:
                try:
                    outbox.queue_sms(world.phones[number], f"message {number}", dedupe_key=f"sim:{number}")
                except OperationalError:
                    world.schedule.append(f"        {process.name} could not queue its message")

            world.do(process, run)

        when = random.uniform(0, until)
        world.at(when, f"message {number} is sent inline", send)
        if random.random() < 0.4:
            world.at(when + random.uniform(0.005, 3.0), f"kill -9 of {process.name}", world.kill, process)


@dataclass
class Scenario:
    """The choices of a seed, in printable form."""

    workers: int
    messages: int
    rate_limit: int
    profiles: list[str]


def scenario(seed: object) -> Scenario:
    random = Random(f"{seed}/scenario")
    chosen = random.sample(PROFILES, random.choice((0, 1, 1, 2, 2, 3)))
    if inline_only in chosen:
        alone = (inline_only, lossy_provider, failing_provider, tokens, slow_cache)
        chosen = [one for one in chosen if one in alone]
    rate_limit = 8 if one_phone in chosen else random.choice((0, 8))
    return Scenario(random.randint(1, 3), random.randint(3, 20), rate_limit, [one.__name__ for one in chosen])


def play(world: World, drawn: Scenario, faults: float = 30.0) -> None:
    """Run the scenario to its end and check the invariants. Raises Violation."""
    random = Random(f"{world.seed}/faults")
    by_name = {one.__name__: one for one in PROFILES}
    for name in drawn.profiles:
        by_name[name](world, random, faults)
    if not world.without_workers:
        for number in range(drawn.workers):
            world.at(random.uniform(0, 1), "a worker starts", world.worker, f"worker{number}")
        for number in range(drawn.messages):
            world.at(random.uniform(0, faults * 0.8), f"queue {number}", world.queue, number)
        world.at(faults, "a worker starts, faults end", world.worker, "last")
    window = sum(1 for phone in world.phones.values() if phone == "0772999999") * world.config.rate_limit
    world.run(faults + SETTLE + window + world.more_seconds)
    world.check()
    world.finish()
