"""The dashboard: it reads a run's folder and draws it on a terminal. It never imports torch."""
