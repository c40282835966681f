"""Every error edgefw raises on purpose, in one tree.

    EdgefwError                 exit 2: the input is wrong; printed as one message, without a traceback
    ├── RecipeError             a key, a value or a file of the recipe
    │   └── CapabilityError     two pieces that do not fit together
    ├── PluginError             a plugin that cannot be used
    │   ├── PluginNotFound      no technique of that kind and name
    │   ├── PluginClash         two distributions offer the same name
    │   └── PluginLoadError     it was asked for, and its import or registration failed
    ├── MissingDependency       a package that an extra brings
    ├── DataError               samples, splits, label files
    ├── RunFolderError          a folder that cannot be used as a run folder
    ├── BundleError             a bundle, an artefact or a label pack
    ├── TrainingError           a loss that is not a number, a checkpoint that does not fit
    ├── ExportError             a model that does not compile
    └── GateFailed              exit 1: the work is done, a budget was not met

A message has three parts: what is wrong (with the value), where (recipe path, file, plugin), what to do.
This module imports nothing and knows no kind of technique.
"""

from __future__ import annotations


class EdgefwError(Exception):
    """The user's input is wrong; `str(error)` is the whole message."""

    exit_code = 2


class EdgefwWarning(UserWarning):
    """Something to read; the command line prints it as one line."""


class RecipeError(EdgefwError):
    """A recipe key or value is wrong."""


class CapabilityError(RecipeError):
    """A technique needs what no chosen technique provides."""


class PluginError(EdgefwError):
    """A plugin cannot be used."""


class PluginNotFound(PluginError):
    """No installed distribution offers this technique."""


class PluginClash(PluginError):
    """Two or more distributions offer one name of one kind."""


class PluginLoadError(PluginError):
    """The plugin was asked for, and importing or registering it failed."""


class MissingDependency(EdgefwError):
    """A package is not installed; the message holds the install command."""


class DataError(EdgefwError):
    """The data set cannot be read as the recipe says."""


class RunFolderError(EdgefwError):
    """A folder is no run, or is a run that must not be written over."""


class BundleError(EdgefwError):
    """A bundle, an artefact or a label pack is damaged or does not fit."""


class TrainingError(EdgefwError):
    """Training cannot go on, and the recipe or the data is the reason."""


class ExportError(EdgefwError):
    """A model cannot be compiled for a backend."""


class GateFailed(EdgefwError):
    """A budget of the recipe was not met."""

    exit_code = 1
