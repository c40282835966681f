"""First-party quantizers."""
