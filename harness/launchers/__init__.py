"""How the jobs of a sweep are run where one process is not enough.

Imports nothing heavy: workers choose their device first.
"""
