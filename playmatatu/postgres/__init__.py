"""Django's PostgreSQL backend with an end to every wait, for the processes that call `limit_waits`: the site's.

Workers and commands do not: a migration, a clean-up or a claim may take its time, and a lease says what became of it.
"""

# Whether this process is the site.
limited = False


def limit_waits() -> None:
    global limited
    limited = True
