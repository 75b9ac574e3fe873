"""What became of a text: DMark's delivery reports."""
