"""The seam to libcurl. The simulation replaces `current` by a fake provider at the level of pycurl's objects."""

from typing import Any

import pycurl


class Transport:
    def curl(self) -> Any:
        return pycurl.Curl()

    def multi(self) -> Any:
        return pycurl.CurlMulti()


current = Transport()
