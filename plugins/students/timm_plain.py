"""Backbones of timm without SiLU, Hardswish, GELU and squeeze-and-excitation, by the name of one that has some of them.

A rule is a pattern of timm's names and the name to take instead: EfficientNet's Lite variants, made for quantisation with ReLU6 and
without squeeze-and-excitation (https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html);
RegNetX for RegNetY, which is the same with squeeze-and-excitation (Radosavovic et al. 2020, arXiv:2003.13678); MobileNetV4's
convolutional models for MobileNetV3 (Qin et al. 2024, arXiv:2404.10518). A replacement does about the same work, but for the
largest EfficientNets, which get the largest Lite; it is another network, with other weights and its own accuracy. Transformers have
none here.
"""

from __future__ import annotations

import re

import timm

_RULES = (
    (r"(?:tf_)?efficientnet(?:_blur)?_b([0-4])(?:_.*)?", r"tf_efficientnet_lite\1"),
    (r"(?:tf_)?efficientnet_(?:b[5-8]|l2).*", "tf_efficientnet_lite4"),
    (r"(?:tf_)?efficientnetv2_b([0-3])", r"tf_efficientnet_lite\1"),
    (r"(?:tf_)?efficientnetv2_.*", "tf_efficientnet_lite4"),
    (r"tinynet_[abc]|mixnet_[sm]|rexnetr?_100|fbnetc?_100", "tf_efficientnet_lite0"),
    (r"mobilenetv3_small.*|lcnet_.*|tinynet_[de]|ghostnet_050", "mobilenetv4_conv_small"),
    (
        r"mobilenetv3_(?:large|rw).*|fbnetv3_.*|mobilenetv4_(?:conv_aa|conv_blur|hybrid)_medium.*",
        "mobilenetv4_conv_medium",
    ),
    (r"mobilenetv4_(?:conv_aa|hybrid)_large.*", "mobilenetv4_conv_large"),
    (r"semnasnet_(\d+)", r"mnasnet_\1"),
    (r"regnety_(\d+).*", r"regnetx_\1"),
    (r"(?:legacy_)?seresnet(18|34|50|101|152)[a-z]*", r"resnet\1"),
    (r"(?:legacy_)?seresnext(50|101)[a-z]*_(32x4d|32x8d)", r"resnext\1_\2"),
)


def plain_backbones(model: str) -> tuple[str, ...]:
    """Names to take instead of a model of timm, with or without a tag; empty where there is no rule."""
    name = model.partition(".")[0]
    for pattern, instead in _RULES:
        if found := re.fullmatch(pattern, name):
            wanted = found.expand(instead)
            return (wanted,) if timm.is_model(wanted) else ()
    return ()
