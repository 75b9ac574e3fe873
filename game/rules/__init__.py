"""The rules of a stake, used by the pages and the API.

Modules, in the order of a stake's life: `placing` accepts a stake, `matching` activates the paid stake and finds an
opponent, `results` records the result of a match, `ending` ends stakes without a match, `pruning` deletes old unpaid
stakes.

Helper modules: `validation` checks input, `codes` creates and reads match codes, `limits` refuses requests that exceed
a limit, `locks` locks rows.
"""
