"""The upper limit for sending: bare `requests.Session.post` in several threads.

Usage: `python -m benchmarks.bare URL COUNT THREADS`.
"""

import itertools
import resource
import sys
import threading
import time

import requests


def main(url: str, count: int, threads: int) -> None:
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))
    numbers = itertools.count()
    body = {"msg": "text " * 15, "numbers": "0772123456", "dlr_url": "", "scan_ip": False}

    def run() -> None:
        while next(numbers) < count:
            session.post(url, json=body, headers={"authToken": "opaque-token"}, timeout=(3, 10)).json()

    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(f"{count / elapsed} {cpu / count * 1000}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
