"""Deterministic simulation of the SMS sender: the product's code in simulated time, with faults drawn from a seed.

`docs/simulation.md` describes how to run it, the replaced modules, the invariants and the scenarios.
"""
