"""The rules of a stake, called by the pages and the API. The modules for the steps of a stake, in order:

- `placing` accepts a stake and writes an entry that waits for its payment.
- `matching` activates the entry when it is paid, and matches two entries with the same stake.
- `results` records the results of matches, and closes old matches that have no result.
- `ending` ends an entry that was left, has expired or was never paid. Its money becomes due for refund.
- `pruning` deletes unpaid stakes, and rows that only they needed.

The helper modules are `validation` (amounts, names, and the exception `Refused`), `codes` (of private matches),
`limits` and `locks`.
"""
