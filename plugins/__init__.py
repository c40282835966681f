"""First-party techniques: one technique = one module = one entry point."""
