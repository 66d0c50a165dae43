"""Runs that look suspicious and are right: each must come out EXACT."""
