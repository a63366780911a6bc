"""The timetable, the entry points that run it, and the command line."""
