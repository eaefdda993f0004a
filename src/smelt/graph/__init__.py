"""Programs: recorded by models/, rewritten, placed and ordered here, replayed by backends/."""
