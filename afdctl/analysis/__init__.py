"""What a training did to the features: analyses of a run's network on its test split. Nothing here trains it."""
