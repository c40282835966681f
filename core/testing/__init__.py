"""The conformance kit: what edgefw promises about a kind, as checks that run on any technique of it.

    from edgefw.testing import parametrize_with_checks

    @parametrize_with_checks("loss", "acme-x", config={"power": 2})
    def test_conformance(check):
        check()

Nothing here is loaded unless a test asks for it: there is no pytest entry point. `edgefw.testing.fakes` holds the small
inputs that the checks use, and `edgefw.testing.pytest_plugin` runs the kit without a test file.
"""

from edgefw.testing.parametrize import checks_of, parametrize_with_checks

__all__ = ["checks_of", "parametrize_with_checks"]
