"""What the benchmarks share."""

import signal
import sys
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parent.parent


def say(*words: Any) -> None:
    print(*words, flush=True)


def alive(url: str) -> bool:
    """It answers, and with a 2xx."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def tidy_when_told_to_end() -> None:
    """SIGTERM, as `timeout` sends it, ends what was started like Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its end"))
