"""What a training loop keeps for itself."""
