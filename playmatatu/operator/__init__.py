"""Pages for operators: the dashboard, and one player's timeline. This package alone imports every app."""
