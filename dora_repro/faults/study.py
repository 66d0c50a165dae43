"""The study's own eight: what its lab found by hand in weeks."""
