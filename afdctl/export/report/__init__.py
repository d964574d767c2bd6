"""The report: one HTML page that shows one run or compares several, and works offline."""
