"""What stands around handlers: how exceptions are answered."""
