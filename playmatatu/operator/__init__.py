"""Admin pages for operators that combine data of all apps: the dashboard, and the timeline of one player."""
