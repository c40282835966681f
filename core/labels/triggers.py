"""Give a label pack the trigger of a YAML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from edgefw.errors import BundleError
from edgefw.runtime.label_pack import LabelPack
from edgefw.runtime.trigger_rule import check_names, parse_rule


def with_trigger(pack: LabelPack, path: Path) -> LabelPack:
    """The pack with the trigger that stands in `path`, keys as in `edgefw.runtime.trigger_rule.Rule`.

    Raises:
        BundleError: if the file cannot be read, is no rule, or names a label that the pack has not.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise BundleError(f"{path}: no YAML ({first}).") from error
    rule = parse_rule(values, str(path))
    check_names(rule, pack.names, str(path))
    return replace(pack, trigger=rule)
