"""DAT and DAT++ as students: published sizes, features, options, weights, and what exporters make of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import StochasticDepth

import edgefw
from edgefw.errors import RecipeError
from edgefw.plugins.students.dat import DatConfig, DatStudent, build
from edgefw.plugins.students.dat_parts.architecture import VARIANTS
from edgefw.plugins.students.dat_parts.deformable import DeformableAttention
from edgefw.plugins.students.dat_parts.neighbourhood import NeighbourhoodAttention
from edgefw.training.optimisers import decays

MICRO = ("dat-micro", "dat-pp-micro")
ROOT = Path(__file__).resolve().parents[3]
DAT_PAGE = (
    (ROOT / "docs" / "techniques" / "students.md").read_text(encoding="utf-8").split("\n## dat\n")[1].split("\n## ")[0]
)


def student(variant: str, **options: object) -> DatStudent:
    torch.manual_seed(0)
    return build(DatConfig(variant=variant, **({"size": 64} | options)), edgefw.BuildContext()).eval()


def pixels(size: int = 64, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("variant", "own", "published"), [("dat-t", 27_553_530, 29), ("dat-pp-t", 23_450_772, 24)])
def test_sizes_are_near_the_papers(variant: str, own: int, published: int) -> None:
    trunk = build(DatConfig(variant=variant), edgefw.BuildContext())
    assert trunk.spec.parameters == own
    with_classifier = own + 1000 * (trunk.spec.width + 1)
    assert abs(with_classifier / 1e6 - published) < 0.75


@pytest.mark.parametrize("variant", MICRO)
@pytest.mark.parametrize("size", [64, 96, 128])
def test_pooled_features_are_the_mean_of_the_map(variant: str, size: int) -> None:
    trunk = student(variant, size=size)
    with torch.no_grad():
        pooled, feature_map = trunk(pixels(size))
    assert feature_map.shape == (2, trunk.spec.width, size // 32, size // 32)
    torch.testing.assert_close(pooled, feature_map.mean(dim=(2, 3)))


def test_attentions_take_turns() -> None:
    assert VARIANTS["dat-t"].attention_kinds(1) == ("window", "shifted")
    assert VARIANTS["dat-t"].attention_kinds(2) == ("window", "deformable") * 3
    assert VARIANTS["dat-pp-t"].attention_kinds(2) == ("neighbourhood", "deformable") * 9
    assert VARIANTS["dat-pp-t"].attention_kinds(3) == ("deformable", "deformable")


def test_dat_plus_reads_49_points_in_every_stage() -> None:
    trunk = student("dat-pp-micro", size=224)
    deformable = [m for m in trunk.modules() if isinstance(m, DeformableAttention)]
    assert {m.points_side for m in deformable} == {7} and len(deformable) == 3
    assert {m.kernel for m in trunk.modules() if isinstance(m, NeighbourhoodAttention)} == {7}


def test_the_recipe_can_give_other_numbers() -> None:
    trunk = student("dat-pp-micro", dims=[8, 16, 24, 40], depths=[1, 1, 3, 2], heads=[1, 2, 3, 4], groups=[1, 1, 3, 2])
    assert trunk.spec.width == 40
    assert [len(blocks) for blocks in trunk.backbone.stages] == [1, 1, 3, 2]
    assert trunk(pixels()).pooled.shape == (2, 40)


def test_numbers_that_do_not_divide_are_one_message() -> None:
    with pytest.raises(ValidationError, match="stage 3: heads must divide dims.* got dims 64, heads 5, groups 2. Set"):
        DatConfig(variant="dat-pp-micro", heads=[1, 2, 5, 8])


def test_a_size_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 32"):
        DatConfig(size=100)


def test_drop_path_grows_evenly_to_its_rate() -> None:
    trunk = student("dat-micro", drop_path=0.3)
    rates = [m.p for m in trunk.modules() if isinstance(m, StochasticDepth)]
    assert rates == pytest.approx([0.3 * block / 7 for block in range(1, 8)])
    assert torch.equal(trunk(pixels()).pooled, student("dat-micro")(pixels()).pooled)


def test_weight_decay_spares_position_tables() -> None:
    named = dict(student("dat-micro").named_parameters())
    assert not [name for name, p in named.items() if name.endswith("table") and decays(name, p)]


def test_weights_of_a_file_are_loaded(tmp_path: Path) -> None:
    other = student("dat-micro")
    nn.init.normal_(other.backbone.norm.bias)
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    trunk = student("dat-micro", weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(trunk(pixels()).pooled, other(pixels()).pooled)
    assert "w.safetensors" in trunk.spec.source and trunk.spec.licence == "unknown"


def test_a_file_of_another_input_size_is_refused(tmp_path: Path) -> None:
    save_file(student("dat-micro").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(RecipeError, match="does not fit the model by name: .* of another shape .*bias_table"):
        student("dat-micro", size=96, weights=str(tmp_path / "w.safetensors"))


class Pooled(nn.Module):
    """Only the pooled features, as an exporter wants them."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.trunk(image).pooled
        return pooled


@pytest.mark.slow
@pytest.mark.parametrize("variant", MICRO)
def test_torch_export_captures_it_with_any_batch(variant: str) -> None:
    network = Pooled(student(variant))
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(network, (pixels(),), dynamic_shapes=shapes)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(pixels(count=5)), network(pixels(count=5)))
    assert any("grid_sampl" in str(node.target) for node in program.graph.nodes)


def test_the_trunk_of_a_run_becomes_a_weight_file_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained = student("dat-micro")
    file = Path("runs/longer/train/distil/student.safetensors")
    file.parent.mkdir(parents=True)
    head = {"head.projection.weight": torch.zeros(2, 2)}
    save_file({f"trunk.{name}": values for name, values in trained.state_dict().items()} | head, file)
    (code,) = re.findall(r"```python\n(.*?)```", DAT_PAGE, re.DOTALL)
    exec(code, {})  # noqa: S102 - the page's own example
    started = student("dat-micro", weights=str(tmp_path / "dat.safetensors"))
    torch.testing.assert_close(started.state_dict(), trained.state_dict())


def test_the_page_tells_the_defaults_of_the_student_and_what_the_recipe_sets() -> None:
    assert (DatConfig().variant, DatConfig().drop_path) == ("dat-pp-t", 0.0)
    recipe = yaml.safe_load((ROOT / "recipes" / "edgevl-dat.yaml").read_text(encoding="utf-8"))
    assert recipe["student"] == {"name": "dat", "variant": "dat-t", "drop_path": 0.2, "head": {"name": "linear-norm"}}
    assert "sets `variant: dat-t`, `drop_path: 0.2` and the\nhead `linear-norm`" in DAT_PAGE
    page = (ROOT / "docs" / "edgevl.md").read_text(encoding="utf-8")
    assert "the student `dat` by itself (`student.name=dat`) is `dat-pp-t`" in page
    assert "`variant: dat-pp-t` and `drop_path: 0`, where the recipe sets `dat-t`, 0.2" in page


def test_a_licence_is_that_of_the_weights(tmp_path: Path) -> None:
    save_file(student("dat-micro").state_dict(), tmp_path / "w.safetensors")
    assert student("dat-micro").spec.licence == "random weights"
    assert student("dat-micro", weights=str(tmp_path / "w.safetensors"), licence="MIT").spec.licence == "MIT"
