"""Give a label pack the trigger of a YAML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgefw.errors import BundleError
from edgefw.labels.prompt_file import read_yaml
from edgefw.runtime.label_pack import LabelPack
from edgefw.runtime.trigger_rule import Rule, check_names, keeps_everything, parse_rule


def read_trigger(path: Path) -> Rule:
    """The rule that stands in `path`, keys as in `edgefw.runtime.trigger_rule.Rule`.

    Raises:
        BundleError: if the file cannot be read, or is no rule.
    """
    return parse_rule(read_yaml(path, "trigger"), str(path))


def with_trigger(pack: LabelPack, path: Path) -> LabelPack:
    """The pack with the trigger that stands in `path`.

    Raises:
        BundleError: if the file cannot be read, is no rule, names a label that the pack has not, or would keep everything.
    """
    rule = read_trigger(path)
    check_names(rule, pack.names, str(path))
    why = keeps_everything(rule, pack.names, len(pack.negatives))
    if why is not None:
        raise BundleError(f"{path}: {why}")
    return replace(pack, trigger=rule)
