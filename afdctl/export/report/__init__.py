"""The report: one HTML page of one run or several, which needs no network."""
