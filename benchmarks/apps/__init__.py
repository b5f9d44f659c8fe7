"""The applications that are compared. Each pair does the same with what its framework offers."""
