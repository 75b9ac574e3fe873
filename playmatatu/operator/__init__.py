"""For the operator: the state of the house, and everything of one player on one page. It alone knows all apps."""
