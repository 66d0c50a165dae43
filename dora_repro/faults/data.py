"""Orders of samples that come back as others."""
