"""Test that a seed and a scenario detect each mutation. A mutation removes the fix of one known fault."""

import pytest
from django.db import connection

from tests.simulation import test_findings
from tests.simulation.mutations import MUTATIONS, Mutation, mutated
from tests.simulation.run import run_seed
from tests.simulation.test_simulation import CHUNK, CHUNKS

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the simulation uses SQLite in memory"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_seed_finds_the_fault(mutation: Mutation) -> None:
    with mutated(mutation):
        found = run_seed(mutation.seed).violation
    assert found, "the seed no longer finds the fault; search another one with `tests.simulation mutants`"
    assert found.invariant == mutation.invariant
    # Without the mutation the seed must not fail. For the first seeds, `test_seeds` checks this.
    assert mutation.seed <= CHUNK * CHUNKS or not run_seed(mutation.seed).violation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_scenario_finds_the_fault(mutation: Mutation) -> None:
    with mutated(mutation), pytest.raises(AssertionError):
        getattr(test_findings, mutation.scenario)(*mutation.arguments)
