"""Run seeds: `python -m tests.simulation 1-1000`, or `make simulate SEEDS=1-1000`. Exit 1 if an invariant fails.

`python -m tests.simulation mutants 1-300 [name …]` removes each fix in turn, and prints the first seed that fails.
"""

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.mutations import Mutation

os.environ["DATABASE_URL"] = "sqlite://:memory:"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "playmatatu.settings")
os.environ.setdefault("SECRET_KEY", "s" * 50)
os.environ.setdefault("DEBUG", "true")


def main(arguments: list[str]) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, skip_checks=True)
    from tests.simulation.run import run_seed, shrink

    if arguments[:1] == ["mutants"]:
        return mutants(*arguments[1:])
    first, _, last = (arguments[0] if arguments else "1-100").partition("-")
    seeds = range(int(first), int(last or first) + 1)
    began, failed, hours = time.process_time(), 0, 0.0
    for seed in seeds:
        result = run_seed(seed)
        hours += result.seconds / 3600
        if len(seeds) == 1 or result.violation:
            sys.stdout.write(f"seed {seed}: {result.violation or 'no violation'}\n{result.describe()}\n")
        if result.violation:
            failed += 1
            sys.stdout.write(f"  fails with these profiles alone: {', '.join(shrink(seed)) or 'none'}\n\n")
        sys.stdout.flush()
    cpu = time.process_time() - began
    sys.stdout.write(f"{len(seeds)} seeds, {failed} violations, {hours:.1f} simulated hours in {cpu:.0f} s of CPU\n")
    return 1 if failed else 0


def _caught(mutation: "Mutation") -> str:
    """Run the scenario of a mutation. Return its name if it fails, or "" if it does not detect the fault."""
    from tests.simulation import test_findings

    try:
        getattr(test_findings, mutation.scenario)(*mutation.arguments)
    except AssertionError:
        return mutation.scenario
    return ""


def mutants(seeds: str = "1-300", *names: str) -> int:
    from tests.simulation.mutations import MUTATIONS, mutated
    from tests.simulation.run import run_seed

    first, _, last = seeds.partition("-")
    missing = 0
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        began = time.process_time()
        with mutated(mutation):
            caught = _caught(mutation)
            played = (run_seed(seed) for seed in range(int(first), int(last or first) + 1))
            found = next((one for one in played if one.violation), None)
        missing += not found or not caught
        what = f"seed {found.seed}: {found.violation} {found.scenario.profiles}" if found else "no seed"
        sys.stdout.write(
            f"{mutation.name}: {caught or 'no'} scenario, {what} ({time.process_time() - began:.0f} s of CPU)\n"
        )
        sys.stdout.flush()
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
