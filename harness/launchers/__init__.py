"""How the jobs of a sweep run where one process is not enough."""
