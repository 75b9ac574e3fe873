"""How sending is doing, in numbers: at this moment (`pulse`), and by hour and day (`counts`)."""
