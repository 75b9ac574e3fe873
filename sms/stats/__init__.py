"""Statistics about sending, one subject per module.

`status`: the state at this moment. `volume`: messages by hour and day. `failures`: failures of the last day by reason.
`by_network`: messages by mobile network.
"""
