"""Deterministic simulation of the SMS sender: the product's code in virtual time, with faults drawn from a seed.

`docs/simulation.md` describes how to run it, the seams, the invariants and the scenarios.
"""
