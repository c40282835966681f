"""The technique under test, built as a run would build it."""

from __future__ import annotations

import pytest

from edgefw.registry.kinds import Kind
from edgefw.testing.fakes import build_context
from edgefw.testing.parametrize import make_checks

SOURCE = '''"""A loss whose options do not survive YAML."""
import edgefw
from pydantic import field_serializer, Field

class Config(edgefw.TechniqueConfig):
    rate: float = Field(default=0.5, description="a rate")

    @field_serializer("rate")
    def _rounded(self, value):
        return round(value)

def build(config, context):
    return context

@edgefw.hookimpl
def edgefw_register_losses(register):
    register(edgefw.Technique(name="x", config=Config, build=build))
'''


@pytest.fixture
def checks(site):
    site.loss("edgefw-acme", "x", SOURCE)
    return {check.name: check for check in make_checks("loss", "x", config={"rate": 0.3})}


def test_options_that_do_not_survive_yaml_are_caught(checks) -> None:
    with pytest.raises(AssertionError, match="rate=0.0"):
        checks["config_round_trips_through_yaml"]()


def test_a_piece_is_built_with_a_folder_of_its_own(checks) -> None:
    subject = checks["works_offline"].subject
    context = subject.build()
    assert context.base == subject.folder and context.cache.is_dir()
    assert context.modalities == ("rgb", "depth")


def test_checks_of_one_technique_share_the_subject(checks) -> None:
    assert len({id(check.subject) for check in checks.values()}) == 1


@pytest.mark.parametrize(
    "kind, teacher, student",
    [(Kind.TEACHER, False, False), (Kind.STUDENT, True, False), (Kind.LOSS, True, True), (Kind.DATASET, False, False)],
)
def test_a_context_holds_what_the_engine_has_built_by_then(kind, teacher, student) -> None:
    context = build_context(kind)
    assert (context.teacher is not None, context.student is not None) == (teacher, student)
