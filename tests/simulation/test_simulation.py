"""Run the simulation with the first 200 seeds. Each seed draws workers, messages and fault profiles.

`make simulate SEEDS=…` runs more seeds.
"""

import time

import pytest
from django.db import connection

from tests.simulation.run import run_seed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the simulation uses SQLite in memory"),
]

# There are ten tests, so that they run in parallel. 200 seeds take about 40 s of CPU.
CHUNK, CHUNKS = 20, 10


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_seeds(chunk: int) -> None:
    for seed in range(chunk * CHUNK + 1, (chunk + 1) * CHUNK + 1):
        played = run_seed(seed)
        assert played.violation is None, f"seed {seed}: {played.violation}\n{played.describe()}"


@pytest.mark.parametrize("seed", [406, 783, 1292])
def test_a_seed_that_found_a_fault_in_a_long_run(seed: int) -> None:
    """Each of these seeds detected a fault in a long run.

    406: a message was counted as ambiguous and never sent, because of a slow cache. 783: a message was sent after its
    rate-limit key had expired. 1292: a worker lost a lease and claimed the message again; the result of the first claim
    then queued the message a second time.
    """
    played = run_seed(seed)
    assert played.violation is None, f"{played.violation}\n{played.describe()}"


def test_a_seed_replays_exactly() -> None:
    digests = set()
    # Short seeds, with seven different profiles.
    for seed in (4, 103, 117):
        first, time_before = run_seed(seed), time.monotonic()
        second = run_seed(seed)
        assert (first.digest, first.schedule, first.seconds) == (second.digest, second.schedule, second.seconds)
        assert time.monotonic() > time_before
        digests.add(first.digest)
    assert len(digests) == 3
