"""Statistics about sending.

`status`: the state at this moment. `counts`: messages by hour and day. `failures`: recent failures by reason.
`networks`: messages by mobile network.
"""
