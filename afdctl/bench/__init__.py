"""What a recipe costs on this machine, as ratios of times that were measured in turn."""
