"""Weight files: what is read, what is refused, loading by name and by order, and the fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgefw.errors import MissingDependency, RecipeError
from edgefw.registry.technique import BuildContext
from edgefw.training.weight_files import fingerprint, load_by_name, load_by_order, locate, read_weights


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "wrapped.pt", "parallel.pth"])
def test_each_format_gives_the_state_dict(tmp_path: Path, name: str) -> None:
    path, state = tmp_path / name, model().state_dict()
    if name.endswith("safetensors"):
        save_file(state, path)
    elif name == "wrapped.pt":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        torch.save({f"module.{key}": value for key, value in state.items()} if "parallel" in name else state, path)
    read = read_weights(path)
    assert read.keys() == state.keys() and all(torch.equal(read[key], state[key]) for key in state)


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "boom",))

    torch.save({"weight": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(RecipeError, match="not unpickled"):
        read_weights(tmp_path / "bomb.pt")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("no.safetensors", None, "there is no file"),
        ("bad.safetensors", b"12345678901234", "damaged"),
        ("bad.pt", b"PK\x03\x04 not a zip", "damaged"),
        ("empty.pth", b"", "damaged"),
        ("model.onnx", b"x", "allowed endings"),
    ],
)
def test_what_is_no_weight_file_is_one_message(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=words) as caught:
        read_weights(tmp_path / name)
    assert name in str(caught.value)


def test_a_file_of_something_else_says_what_it_holds(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(RecipeError, match="holds a list, not a state dict"):
        read_weights(tmp_path / "w.pt")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(RecipeError, match="holds no tensors"):
        read_weights(tmp_path / "w.pt")


def test_a_path_is_relative_to_the_recipe_or_inside_a_package(tmp_path: Path) -> None:
    context = BuildContext(base=tmp_path)
    assert locate("w.pt", context) == tmp_path / "w.pt"
    assert locate("package:torch/nn/w.pt", context) == Path(torch.__file__).parent / "nn" / "w.pt"
    with pytest.raises(MissingDependency, match="no_such_models is not installed. pip install no-such-models"):
        locate("package:no_such_models/w.pt", context)


def test_by_name_allows_spare_names_only_where_told() -> None:
    target, state = model(1), {**model(0).state_dict(), "fc.weight": torch.ones(1)}
    with pytest.raises(RecipeError, match=r"1 unknown \(fc.weight\)"):
        load_by_name(target, state, Path("w.pt"))
    load_by_name(target, state, Path("w.pt"), spare=("fc.",))
    assert same(target, model(0))


def test_by_name_lists_what_is_missing_or_of_another_shape() -> None:
    state = dict(model().state_dict())
    del state["0.bias"]
    state["2.bias"] = torch.ones(9)
    with pytest.raises(RecipeError, match=r"1 missing \(0.bias\); 1 of another shape \(2.bias\)"):
        load_by_name(model(), state, Path("w.pt"))


def test_by_order_ignores_names_and_checks_shapes() -> None:
    target = model(1)
    load_by_order(target, {f"x{i}": value for i, value in enumerate(model(0).state_dict().values())}, Path("w.pt"))
    assert same(target, model(0))
    with pytest.raises(RecipeError, match="has 1 tensors, the model has"):
        load_by_order(target, {"a": torch.ones(1)}, Path("w.pt"))
    swapped = dict(reversed(model(0).state_dict().items()))
    with pytest.raises(RecipeError, match=r"2.bias \(2,\) stands where the model has 0.weight \(4, 3\)"):
        load_by_order(target, swapped, Path("w.pt"))


def test_the_fingerprint_changes_with_every_bit_and_fact() -> None:
    first = fingerprint(model(), {"size": 1})
    assert first == fingerprint(model(), {"size": 1}) and len(first) == 64
    changed = model()
    with torch.no_grad():
        changed[2].bias[1] += 1e-6
    assert len({first, fingerprint(model(), {"size": 2}), fingerprint(changed, {"size": 1})}) == 3


def test_the_fingerprint_takes_every_type(tmp_path: Path) -> None:
    assert fingerprint(model().bfloat16(), {}) != fingerprint(model().half(), {})
