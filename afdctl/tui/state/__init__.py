"""From a run folder to what is known of the run."""
