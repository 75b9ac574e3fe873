"""The rules of a stake, in the order in which it meets them. Pages and API call them; they import neither.

    placing    takes a stake: a new entry that awaits its payment
    opening    activates the entry when its payment succeeds, and sends a private match's invite
    matching   makes a session of two active entries of one stake
    ending     ends an entry that was left, expired or never paid; its money is then due back
    pruning    deletes stakes that nobody paid, and what only they needed

Beside them: validation (amounts, names), codes (of private matches), limits, locks, refused.
"""
