"""DoRA: what a difference means for a layer's magnitudes, directions and effective weight."""
