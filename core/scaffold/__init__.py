"""Templates of `edgefw new-plugin`."""
