"""Loading one technique by name: rules for names, clashes, broken plugins, API versions; nothing else is imported."""

from __future__ import annotations

import sys
import warnings

import pytest

from edgefw.errors import PluginClash, PluginLoadError, PluginNotFound
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry

HEAD = '"""Test."""\nimport edgefw\n\ndef build(config, context):\n    return 1\n\n'


def hook(body: str, name: str = "edgefw_register_losses", arguments: str = "register") -> str:
    return f"{HEAD}@edgefw.hookimpl\ndef {name}({arguments}):\n    {body}\n"


def record(name: str = "x", **fields: str) -> str:
    values = {"name": repr(name), "config": "edgefw.NoOptions", "build": "build", **fields}
    return f"edgefw.Technique({', '.join(f'{key}={value}' for key, value in values.items())})"


def registering(name: str = "x", **fields: str) -> str:
    return hook(f"register({record(name, **fields)})")


def failure(site, source: str, name: str = "x", kind: Kind = Kind.LOSS, **options) -> str:
    """The message of loading a loss whose module has this source."""
    site.loss("edgefw-acme", name, source)
    with pytest.raises(PluginLoadError) as caught:
        Registry(**options).load(kind, name)
    message = str(caught.value)
    assert message.startswith(f"{kind} '{name}' (edgefw-acme 0.2, module edgefw_acme) cannot be loaded: ")
    assert caught.value.exit_code == 2
    return message


def test_only_the_named_module_is_imported(site) -> None:
    site.loss("edgefw-acme", "x", registering("x"))
    site.loss("edgefw-bomb", "bomb", "raise RuntimeError")
    technique = Registry().load(Kind.LOSS, "x")
    assert (technique.name, technique.api) == ("x", 1)
    assert "edgefw_acme" in sys.modules and "edgefw_bomb" not in sys.modules


def test_a_technique_is_loaded_once(site) -> None:
    site.loss("edgefw-acme", "x", registering("x"))
    registry = Registry()
    assert registry.load(Kind.LOSS, "x") is registry.load(Kind.LOSS, "x")


def test_two_registries_do_not_see_each_other(site) -> None:
    site.loss("edgefw-acme", "x", registering("x"))
    assert Registry().load(Kind.LOSS, "x").name == Registry().load(Kind.LOSS, "x").name


@pytest.mark.parametrize("asked", ["acme-x", "acme_x", "acme:acme-x", "edgefw-acme:acme_x"])
def test_underscore_equals_hyphen_and_the_qualified_name_is_always_allowed(site, asked) -> None:
    site.loss("edgefw-acme", "acme-x", registering("acme-x"))
    assert Registry().load(Kind.LOSS, asked).name == "acme-x"


def test_an_entry_point_spelled_with_underscores_matches_its_technique(site) -> None:
    site.loss("edgefw-acme", "acme_x", registering("acme-x"))
    assert Registry().load(Kind.LOSS, "acme-x").name == "acme-x"


def test_clash_names_both_distributions_and_both_spellings(site) -> None:
    site.loss("edgefw-acme", "twin", registering("twin", paper="'1'"))
    site.loss("edgefw-other", "twin", registering("twin", paper="'2'"))
    registry = Registry()
    with pytest.raises(PluginClash) as caught:
        registry.load(Kind.LOSS, "twin")
    message = "loss 'twin' is offered by edgefw-acme 0.2 and edgefw-other 0.2. Write acme:twin or other:twin."
    assert str(caught.value) == message
    assert [registry.load(Kind.LOSS, f"{who}:twin").paper for who in ("acme", "other")] == ["1", "2"]


def test_a_stranger_cannot_replace_a_first_party_technique(site) -> None:
    site.loss("edgefw-acme", "feature", registering("feature"))
    with pytest.raises(PluginClash, match="Write edgefw:feature or acme:feature|Write acme:feature or edgefw:feature"):
        Registry().load(Kind.LOSS, "feature")


def test_distributions_with_and_without_the_prefix_are_told_apart(site) -> None:
    site.loss("edgefw-acme", "twin", registering("twin", paper="'1'"))
    site.loss("acme", "twin", registering("twin", paper="'2'"), module="acme_twin")
    registry = Registry()
    with pytest.raises(PluginClash, match="Write acme:twin or edgefw-acme:twin."):
        registry.load(Kind.LOSS, "twin")
    assert registry.load(Kind.LOSS, "acme:twin").paper == "2"
    assert registry.load(Kind.LOSS, "edgefw-acme:twin").paper == "1"


def test_one_distribution_that_offers_a_name_twice_is_told_so(site) -> None:
    points = {"edgefw.losses": {"twin-x": "edgefw_acme", "twin_x": "edgefw_acme"}}
    site.install("edgefw-acme", points, {"edgefw_acme.py": registering("twin-x")})
    with pytest.raises(PluginClash, match="offered more than once by edgefw-acme 0.2 and edgefw-acme 0.2"):
        Registry().load(Kind.LOSS, "acme:twin-x")


def test_not_found_names_close_matches_and_the_command(site) -> None:
    site.loss("edgefw-acme", "patchwise-kd", registering("patchwise-kd"))
    with pytest.raises(PluginNotFound) as caught:
        Registry().load(Kind.LOSS, "patchwise_kt")
    assert str(caught.value) == (
        "no loss called 'patchwise_kt' is installed. Did you mean patchwise-kd? See: edgefw list-plugins --kind loss"
    )


def test_not_found_names_the_kinds_where_the_name_exists(site) -> None:
    with pytest.raises(PluginNotFound, match="There is a student of that name"):
        Registry().load(Kind.LOSS, "timm")


def test_not_found_from_a_distribution_names_who_offers_it(site) -> None:
    site.loss("edgefw-acme", "x", registering("x"))
    with pytest.raises(PluginNotFound, match="no loss called 'other:x' is installed. Installed: acme:x."):
        Registry().load(Kind.LOSS, "other:x")


def test_not_found_says_that_the_allow_list_hides_it(site, monkeypatch) -> None:
    site.loss("edgefw-acme", "x", registering("x"))
    monkeypatch.setenv("EDGEFW_PLUGINS", "")
    with pytest.raises(PluginNotFound, match="EDGEFW_PLUGINS hides edgefw-acme, which offers it"):
        Registry().load(Kind.LOSS, "x")


def test_a_missing_dependency_names_the_install_command(site) -> None:
    message = failure(site, '"""X."""\nimport nowhere_lib.part\n')
    assert message.endswith(
        "ModuleNotFoundError: No module named 'nowhere_lib'. Install what it needs: pip install nowhere_lib"
    )


def test_a_missing_dependency_of_an_extra_names_the_extra(site) -> None:
    message = failure(site, '"""X."""\nraise ModuleNotFoundError("No module named \'timm\'", name="timm")\n')
    assert message.endswith('Install what it needs: pip install "edgefw[train]"')


@pytest.mark.parametrize(
    "source, cause",
    [
        ("1 / 0", "ZeroDivisionError: division by zero."),
        ("raise SystemExit(3)", "SystemExit: 3."),
        ("raise ValueError('first\\n\\nlast line')", "ValueError: last line."),
        ("raise ValueError", "ValueError: no message."),
        ("def broken(:", "SyntaxError: "),
        ("import edgefw_acme.part", "ModuleNotFoundError: No module named 'edgefw_acme.part'"),
    ],
)
def test_a_failing_import_gives_the_last_line_and_a_remedy(site, source, cause) -> None:
    message = failure(site, source)
    assert cause in message
    assert message.endswith("Update it or remove it: pip uninstall edgefw-acme")


def test_the_cause_is_chained(site) -> None:
    site.loss("edgefw-acme", "x", "1 / 0")
    with pytest.raises(PluginLoadError) as caught:
        Registry().load(Kind.LOSS, "x")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_interrupt_in_a_plugin_is_an_interrupt(site) -> None:
    site.loss("edgefw-acme", "x", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry().load(Kind.LOSS, "x")


def test_a_module_that_is_missing_is_said_to_be_missing(site) -> None:
    site.install("edgefw-acme", {"edgefw.losses": {"x": "edgefw_acme.gone"}})
    with pytest.raises(PluginLoadError, match="there is no module 'edgefw_acme.gone'"):
        Registry().load(Kind.LOSS, "x")


def test_an_entry_point_must_name_a_module(site) -> None:
    site.install("edgefw-acme", {"edgefw.losses": {"x": "edgefw_acme:thing"}}, {"edgefw_acme.py": registering()})
    with pytest.raises(PluginLoadError, match="must name a module, not an object in one: 'edgefw_acme:thing'"):
        Registry().load(Kind.LOSS, "x")


def test_a_registration_that_raises_is_rolled_back(site) -> None:
    site.loss("edgefw-acme", "x", hook(f"register({record('x')}); raise OSError('late')"))
    registry = Registry()
    for _ in range(2):
        with pytest.raises(PluginLoadError, match="OSError: late"):
            registry.load(Kind.LOSS, "x")
    assert registry._manager.get_plugins() == set()
    site.loss("edgefw-good", "good", registering("good"))
    assert Registry().load(Kind.LOSS, "good").name == "good"


def test_an_unknown_hook_is_refused_with_the_list_of_hooks(site) -> None:
    typo = registering("x") + "\n@edgefw.hookimpl\ndef edgefw_register_loses(register):\n    pass\n"
    message = failure(site, typo)
    assert "it implements unknown hooks: edgefw_register_loses. Valid hooks here: " in message
    for kind in Kind:
        assert kind.hook in message


def test_a_plugin_with_an_unknown_hook_does_not_spoil_the_next_one(site) -> None:
    site.loss("edgefw-acme", "x", hook("pass", name="edgefw_register_loses"))
    site.loss("edgefw-good", "good", registering("good"))
    registry = Registry()
    with pytest.raises(PluginLoadError, match="unknown hooks"):
        registry.load(Kind.LOSS, "x")
    assert registry.load(Kind.LOSS, "good").name == "good"


def test_an_argument_that_the_hook_lacks_means_a_newer_api(site) -> None:
    assert "it is written for a newer edgefw API" in failure(site, hook("pass", arguments="register, more"))


def test_fewer_arguments_than_the_hook_has_are_accepted(site) -> None:
    assert "it registered: nothing" in failure(site, hook("pass", arguments=""))


def test_a_module_that_registers_another_name_is_told_what_it_registered(site) -> None:
    message = failure(site, registering("y"))
    assert "entry point 'x' registered no loss called 'x'; it registered: loss 'y'." in message


def test_a_module_that_registers_nothing_stays_an_error(site) -> None:
    site.loss("edgefw-acme", "x", hook("pass"))
    registry = Registry()
    for _ in range(2):
        with pytest.raises(PluginLoadError, match="it registered: nothing"):
            registry.load(Kind.LOSS, "x")


def test_one_module_may_serve_two_names_and_two_kinds(site) -> None:
    source = hook(f"register({record('one')}); register({record('two')})")
    source += f"\n@edgefw.hookimpl\ndef edgefw_register_views(register):\n    register({record('one')})\n"
    points = {
        "edgefw.losses": {"one": "edgefw_acme", "two": "edgefw_acme"},
        "edgefw.views": {"one": "edgefw_acme"},
    }
    site.install("edgefw-acme", points, {"edgefw_acme.py": source})
    registry = Registry()
    loaded = [(Kind.LOSS, "one"), (Kind.LOSS, "two"), (Kind.VIEW, "one")]
    assert [registry.load(*pair).name for pair in loaded] == ["one", "two", "one"]


@pytest.mark.parametrize(
    "source, words",
    [
        (hook("register('x')"), "register() takes an edgefw.Technique, got str."),
        (registering("Not Good"), "name 'Not Good' must be lower-case words joined by hyphens"),
        (registering(config="dict"), "config of 'x' must be a subclass of edgefw.TechniqueConfig, got <class 'dict'>."),
        (registering(build="3"), "build of 'x' must be a function of (config, context), got 3."),
        (
            registering(provides="frozenset({'magic'})"),
            "'x' uses unknown capability words: loss.magic. Known: teacher.",
        ),
        (registering(needs="frozenset({'teacher.magic'})"), "unknown capability words: teacher.magic."),
        (hook(f"register({record()}); register({record()})"), "it registers loss 'x' twice."),
        (registering(nonsense="1"), "unexpected keyword argument 'nonsense'"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused_at_registration(site, source, words) -> None:
    assert words in failure(site, source)


@pytest.mark.parametrize("name", ["Upper", "2x", "x--y", "x.y"])
def test_an_entry_point_name_outside_the_pattern_is_refused(site, name) -> None:
    assert "must be lower-case words joined by hyphens" in failure(site, registering("x"), name=name)


def test_the_previous_api_is_accepted_with_a_deprecation_warning(site) -> None:
    site.loss("edgefw-acme", "x", registering("x"))
    with pytest.warns(DeprecationWarning, match="'x' is written for plugin API 1; .* in the release that brings API 3"):
        assert Registry(api_version=2).load(Kind.LOSS, "x").name == "x"


def test_the_current_api_warns_of_nothing(site) -> None:
    site.loss("edgefw-acme", "x", registering("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Registry().load(Kind.LOSS, "x")


@pytest.mark.parametrize("written, offered, offers", [(3, 2, "1-2"), (2, 1, "1"), (1, 3, "2-3"), (0, 1, "1")])
def test_other_apis_are_refused(site, written, offered, offers) -> None:
    message = failure(site, registering(api=str(written)), api_version=offered)
    assert f"it needs plugin API {written}; this edgefw (" in message
    assert f") offers {offers}." in message


def test_a_first_party_technique_that_cannot_be_imported_is_not_to_be_uninstalled(site) -> None:
    from edgefw.registry.discovery import PluginRef
    from edgefw.registry.failures import load_error

    ref = PluginRef(Kind.LOSS, "feature", "edgefw.plugins.losses.feature", "edgefw", "0.1.0", "ok")
    assert "uninstall" not in str(load_error(ref, OSError("disk")))
    missing = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert str(load_error(ref, missing)).endswith('Install what it needs: pip install "edgefw[train]"')
