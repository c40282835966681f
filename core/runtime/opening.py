"""From a bundle's manifest to pieces that work: the modality that decodes, the backend that runs a file.

Techniques are found by name in the registry, as everywhere; only modalities and backends are asked for, and their
modules import no torch. This module knows no technique.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from edgefw.contracts.backend import ManyOpener
from edgefw.errors import BundleError, EdgefwError, MissingDependency, PluginError, PluginNotFound
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.registry.requirements import missing_requirements
from edgefw.registry.technique import BuildContext
from edgefw.runtime.pack_document import first_problem

if TYPE_CHECKING:
    from edgefw.contracts.backend import Backend, Runner
    from edgefw.contracts.modality import Modality
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.preprocessing import Preprocessing


@dataclass(frozen=True)
class OpenedFiles:
    """A bundle's artefacts by name: opened, and why not.

    Attributes:
        runners: of those that opened.
        missing: why, of those whose runtime is not on this machine.
        refused: why, of those that the runtime here does not open.
    """

    runners: dict[str, Runner] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Opener:
    """Builds the pieces that one bundle names.

    Args:
        bundle: opened and checked.
        registry: where techniques come from; None reads what is installed.
    """

    def __init__(self, bundle: Bundle, registry: Registry | None = None) -> None:
        self._bundle = bundle
        self._registry = registry or Registry()

    def modality(self, role: str) -> Modality:
        """The sensor of that role.

        Raises:
            BundleError: if the bundle has no such sensor, or its options do not fit the installed technique.
            PluginError: if its technique is not installed.
        """
        known = self._bundle.manifest.modalities
        if role not in known:
            raise BundleError(f"{self._bundle.source}: no modality '{role}'. It has: {', '.join(known)}.")
        entry = known[role]
        return cast("Modality", self._build(Kind.MODALITY, entry.technique, entry.options, f"modalities.{role}"))

    def preprocessing(self, role: str) -> Preprocessing:
        """The contract between that sensor and the student."""
        return self._bundle.preprocessing(role)

    def backend(self, artefact: ArtefactEntry) -> Backend:
        """What opens an artefact's file."""
        where = f"artefact '{artefact.name}'"
        return cast("Backend", self._build(Kind.BACKEND, artefact.backend, artefact.options, where))

    def runner(self, artefact: ArtefactEntry, threads: int | None = None) -> Runner:
        """The artefact, opened in its own runtime.

        Raises:
            BundleError: if its runtime refuses the file, or its inputs are not those of the manifest.
        """
        return self.runners_at_once(artefact, 1, threads)[0]

    def runners_at_once(self, artefact: ArtefactEntry, most: int, threads: int | None = None) -> Sequence[Runner]:
        """The artefact, opened for several threads that run it at the same time, where its backend can do that.

        Args:
            artefact: of this bundle.
            most: runners at most, one per CPU thread.
            threads: CPU threads of all together; None: the artefact's own option.

        Raises:
            BundleError: if its runtime refuses the file, or its inputs are not those of the manifest.
            PluginError: if the backend opens none, or more than `most`.
        """
        backend, file = self.backend(artefact), self._bundle.file(artefact)
        try:
            if most > 1 and isinstance(backend, ManyOpener):
                runners = backend.open_many(file, most, threads)
            else:
                runners = [backend.open(file, threads)]
        except BundleError as error:
            raise BundleError(self._bundle.named(str(error))) from error
        if not 1 <= len(runners) <= most:
            raise PluginError(
                f"{self._bundle.source}: artefact '{artefact.name}': backend '{artefact.backend}' opened {len(runners)} "
                f"runners; 1 to {most} were asked for. This is a fault of the backend: tell whoever wrote it."
            )
        for runner in runners:
            self._check_inputs(artefact, runner)
        return runners

    def why_no_more(self, artefact: ArtefactEntry, count: int) -> str:
        """What keeps `runners_at_once` from giving more than `count` runners."""
        if isinstance(self.backend(artefact), ManyOpener):
            return f"there {'are' if count > 1 else 'is'} {count} CPU thread{'s' if count > 1 else ''}, see --threads"
        return f"backend '{artefact.backend}' encodes one frame at a time"

    def _check_inputs(self, artefact: ArtefactEntry, runner: Runner) -> None:
        if set(runner.inputs) != set(artefact.inputs):
            raise BundleError(
                f"{self._bundle.source}: artefact '{artefact.name}' takes {', '.join(runner.inputs)}; "
                f"the manifest says {', '.join(artefact.inputs)}."
            )

    def runners(self, threads: int | None = None, without: Collection[str] = ()) -> OpenedFiles:
        """All artefacts that can be opened; and of the others the reason.

        Args:
            threads: CPU threads of each; None: the artefact's own option.
            without: names to leave out.

        Raises:
            BundleError: if `without` names none of them.
        """
        entries = {entry.name: entry for entry in self._bundle.manifest.artefacts}
        if unknown := sorted(set(without) - entries.keys()):
            raise BundleError(f"{self._bundle.source}: no artefact '{unknown[0]}'. It has: {', '.join(entries)}.")
        opened = OpenedFiles()
        for name in (name for name in entries if name not in without):
            try:
                opened.runners[name] = self.runner(entries[name], threads)
            except (MissingDependency, PluginNotFound) as error:
                opened.missing[name] = str(error)
            except BundleError as error:
                opened.refused[name] = str(error)
        return opened

    def _build(self, kind: Kind, name: str, options: Mapping[str, Any], where: str) -> Any:
        place = f"{self._bundle.source}: {where}"
        try:
            technique = self._registry.load(kind, name)
            config = technique.config.model_validate(dict(options))
            if missing := missing_requirements(technique):
                install = technique.install or f"pip install {missing[0]}"
                raise MissingDependency(f"{kind} '{name}' needs {', '.join(missing)}. Run: {install}")
            return technique.build(config, BuildContext(path=where, base=self._bundle.folder))
        except ValidationError as error:
            raise BundleError(f"{place}: {kind} '{name}': {first_problem(error)}") from error
        except EdgefwError as error:
            raise type(error)(f"{place}: {error}") from error


def single_input(artefact: ArtefactEntry) -> str:
    """The name of the one input of an artefact.

    Raises:
        BundleError: if it takes several images at once; a folder of images says nothing about which belong together.
    """
    if len(artefact.inputs) != 1:
        raise BundleError(f"artefact '{artefact.name}' takes {len(artefact.inputs)} images at once; this needs one.")
    return next(iter(artefact.inputs))
