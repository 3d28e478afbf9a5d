"""Sub-centers, units, groups, instruments, and what their use costs."""
