"""The names of a store's entries: a folder for each kind, and the file inside that is read."""

from __future__ import annotations

CELLS, CELL_FILE = "cells", "cell.json"
RESULTS, RESULT_FILE = "results", "result.json"
FAILURES = "failures"  # one JSON file a failure, without a folder of its own
MEASUREMENTS, MEASUREMENT_FILE = "measurements", "measurement.json"
PICTURES, PICTURES_FILE = "pictures", "index.json"  # question number to names of WebP files
PARTIAL = "partial"  # what is being written
