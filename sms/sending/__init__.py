"""Send one message: claim it, check if it may be sent now, send it, record the result."""
