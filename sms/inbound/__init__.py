"""Inbound SMS: messages that people send to the provider's number, among them STOP, START and HELP."""
