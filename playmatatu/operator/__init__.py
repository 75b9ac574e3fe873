"""Admin pages for operators with data of all apps: the dashboard, and the timeline of one player."""
