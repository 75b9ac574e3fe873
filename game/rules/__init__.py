"""The rules of a stake, in the order in which it meets them. Pages and API call them; they import neither.

    placing    takes a stake: a new entry that awaits its payment
    matching   activates the entry when its payment succeeds, and makes a session of two entries of one stake
    ending     ends an entry that was left, expired or never paid; its money is then due back
    pruning    deletes stakes that nobody paid, and what only they needed

Beside them: validation (amounts, names), codes (of private matches), limits, locks, refused.
"""
