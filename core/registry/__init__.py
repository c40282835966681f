"""The plugin engine: what a technique is, how it is found, loaded and refused. It knows kinds, never techniques."""
