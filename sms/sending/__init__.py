"""Send one message: claim it, check its eligibility, send it, record the result."""
