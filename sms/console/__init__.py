"""Pages for operators. Only the admin imports this package."""
