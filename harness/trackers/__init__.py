"""Where runs are tracked: a file for each tracker, called by its name in `tracker=NAME`."""
