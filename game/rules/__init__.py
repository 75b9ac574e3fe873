"""What a stake goes through, in its order; pages and API ask here, and nothing here knows them.

    placing    a stake is taken: a new entry, which awaits its payment
    opening    its payment succeeded: the entry opens, a private match's invite leaves
    matching   two open entries of one stake make a session
    ending     left, past its time, not paid: the entry is over, and what was paid for nothing is due back
    pruning    what came to nothing is forgotten

Beside them: amounts, codes, invites, guesses (of codes), unpaid (stakes without money), addresses, names, locks.
"""
