"""Whole scripts, checked without changing a line: launched, killed and resumed as their user would, and recorded.

Two halves that meet in files alone: what works inside the launched process (`installing`, `watching`, `program`,
`files`), and what launches it and judges what it left (`commands`, `launching`, `launches`, `aligning`, `checking`).
"""
