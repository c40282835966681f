"""A small ray caster for labelled RGB-D scenes: shapes, objects made of them, and rooms around those."""
