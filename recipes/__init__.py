"""Recipes and small assets that ship with the package. `edgefw recipes` lists them."""
