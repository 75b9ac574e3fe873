"""For the operator. Known by nobody but the admin."""
