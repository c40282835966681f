"""The device as a camera: frames, what is worth keeping of them, and a store that survives being killed. No torch."""
