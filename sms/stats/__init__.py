"""Statistics about sending.

`status`: the state at this moment. `counts`: messages by hour and day. `failures`: failures of the last day by reason.
`networks`: messages by mobile network.
"""
