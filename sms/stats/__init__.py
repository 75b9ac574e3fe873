"""Statistics about sending: the state at this moment, messages by time and by network, and failures by reason."""
