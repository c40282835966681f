"""Real photographs, and tokenizers small enough to be saved beside a random model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

SENTENCES = ["a photo of a cat", "a photo of a rocket", "two cups of coffee on a table"]


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """Four photographs that scikit-image ships, of different sizes and shapes."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = ("chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg")
    return [Image.open(folder / name).convert("RGB") for name in names]


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    return list(SENTENCES)


@pytest.fixture(scope="session")
def save_tokenizer() -> Callable[[Path, int], None]:
    """Write a word tokenizer of the sentences' words with an end token, as a transformers folder."""

    def save(folder: Path, length: int) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        words = sorted({word for sentence in SENTENCES for word in sentence.split()})
        vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", *words, "<eos>"])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])]
        )
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            unk_token="<unk>",
            eos_token="<eos>",
            model_max_length=length,
        ).save_pretrained(folder)

    return save
