"""The rules of a stake, used by the pages and the API.

In the order of a stake's life: `placing`, `matching`, `results`, `ending`, `pruning`. The other modules are helpers.
"""
