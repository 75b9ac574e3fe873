"""Access to libcurl. Tests replace `current` with a fake that behaves like pycurl."""

from typing import Any

import pycurl


class Transport:
    def curl(self) -> Any:
        return pycurl.Curl()

    def multi(self) -> Any:
        return pycurl.CurlMulti()


current = Transport()
