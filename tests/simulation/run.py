"""Run a seed, and find the profiles that are enough to make it fail."""

from dataclasses import dataclass, field

from tests.simulation.profiles import Scenario, play, scenario
from tests.simulation.world import Violation, simulated


@dataclass
class Played:
    seed: object
    scenario: Scenario
    violation: Violation | None = None
    schedule: list[str] = field(default_factory=list)
    digest: str = ""
    seconds: float = 0.0

    def describe(self) -> str:
        return "\n".join((f"  {self.scenario}", *(f"  {line}" for line in sorted(self.schedule)), f"  {self.digest}"))


def run_seed(seed: object, profiles: list[str] | None = None) -> Played:
    drawn = scenario(seed)
    if profiles is not None:
        drawn.profiles = profiles
    played = Played(seed, drawn)
    with simulated(seed, rate_limit=drawn.rate_limit) as world:
        try:
            play(world, drawn)
        except Violation as violation:
            played.violation = violation
        played.schedule, played.digest, played.seconds = world.schedule, world.scheduler.digest(), world.now
    return played


def shrink(seed: object) -> list[str]:
    """Remove profiles one by one while the seed still fails. Return the remaining profiles."""
    profiles = scenario(seed).profiles
    for name in list(profiles):
        fewer = [one for one in profiles if one != name]
        if run_seed(seed, fewer).violation:
            profiles = fewer
    return profiles
