"""The public conformance kit: `parametrize_with_checks` and the checks of each kind."""
