"""First-party backends."""
