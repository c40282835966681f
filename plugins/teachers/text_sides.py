"""Text sides of a composed teacher: a sentence encoder, or a table of embeddings that was made elsewhere.

Both take sentences and give unit rows (K, D) float32. They know nothing of images.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from edgefw.errors import RecipeError
from edgefw.training.hub import fetching

_TEXTS_AT_A_TIME = 64


class TextSide(Protocol):
    """Sentences to unit embeddings. `module` holds every tensor; `facts` is hashed with them."""

    module: nn.Module
    facts: dict[str, Any]

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (K, D) of K sentences, K of at least 1."""
        ...


class SentenceEncoder:
    """A transformers encoder folder; token states are averaged, or the first one taken, as the folder says.

    sentence-transformers folders state their pooling in 1_Pooling/config.json; without it, states are averaged over the
    attention mask (Reimers and Gurevych 2019, arXiv:1908.10084).
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        if not (folder / "config.json").is_file():
            raise RecipeError(f"text: {folder} has no config.json, so it is no folder of a sentence encoder.")
        remedy = "The folder needs config.json, weights and the tokenizer's files."
        with fetching(f"text: '{folder}'", remedy):
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            module: Any = AutoModel.from_pretrained(folder, local_files_only=True)
        self.module: nn.Module = module.float().eval()
        self._first = _pools_first_token(folder)
        self._length = _length(folder, module.config.max_position_embeddings)
        self.facts = {"text": module.config.to_dict(), "first": self._first, "length": self._length}

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (K, D) of K sentences."""
        device = next(self.module.parameters()).device
        parts = []
        for start in range(0, len(texts), _TEXTS_AT_A_TIME):
            some = list(texts[start : start + _TEXTS_AT_A_TIME])
            tokens = self._tokenizer(
                some, padding=True, truncation=True, max_length=self._length, return_tensors="pt"
            ).to(device)
            states = self.module(**tokens).last_hidden_state  # (K, T, D)
            mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            parts.append(states[:, 0] if self._first else (states * mask).sum(dim=1) / mask.sum(dim=1))
        return normalize(torch.cat(parts), dim=-1)


def _pools_first_token(folder: Path) -> bool:
    stated = folder / "1_Pooling" / "config.json"
    if not stated.is_file():
        return False
    modes = json.loads(stated.read_text(encoding="utf-8"))
    chosen = sorted(name for name, on in modes.items() if name.startswith("pooling_mode_") and on is True)
    if chosen not in (["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
        raise RecipeError(f"text: {stated} asks for {', '.join(chosen)}; mean_tokens and cls_token are supported.")
    return chosen == ["pooling_mode_cls_token"]


def _length(folder: Path, positions: int) -> int:
    stated = folder / "sentence_bert_config.json"
    limit = json.loads(stated.read_text(encoding="utf-8")).get("max_seq_length") if stated.is_file() else None
    return min(int(limit or positions), positions)


class EmbeddingTable:
    """Rows of text embeddings by name, from .npy files with their names; the first file that has a name gives its row.

    A sentence stands for the longest name that it ends with ("a photo of a cat." for "cat"), so templates change nothing.
    """

    def __init__(self, files: Sequence[tuple[Path, Path]]) -> None:
        rows: dict[str, np.ndarray] = {}
        for embeddings, names in files:
            for name, row in zip(*_read_table(embeddings, names)):
                rows.setdefault(name, row)
        widths = {len(row) for row in rows.values()}
        if len(widths) != 1:
            raise RecipeError(f"text: the tables differ in width: {', '.join(map(str, sorted(widths)))} numbers a row.")
        self._row_of = {name: index for index, name in enumerate(rows)}
        self.module: nn.Module = nn.Module()
        table = normalize(torch.from_numpy(np.stack(list(rows.values()))), dim=-1)
        self.module.register_buffer("table", table)
        self.facts: dict[str, Any] = {"names": list(rows)}

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Rows (K, D) of K sentences.

        Raises:
            RecipeError: if a sentence ends with none of the names.
        """
        table: Tensor = self.module.get_buffer("table")
        return table[torch.tensor([self._find(text) for text in texts], device=table.device)]

    def _find(self, text: str) -> int:
        words = _key(text).split(" ")
        for start in range(len(words)):
            index = self._row_of.get(" ".join(words[start:]))
            if index is not None:
                return index
        close = get_close_matches(words[-1], self._row_of, n=4)
        hint = f" Close: {', '.join(close)}." if close else ""
        raise RecipeError(f"text: the table of {len(self._row_of)} names has no row for '{text}'.{hint}")


def _key(text: str) -> str:
    return re.sub(r"[\s_]+", " ", text.strip().rstrip(".!").lower())


def _read_table(embeddings: Path, names: Path) -> tuple[list[str], np.ndarray]:
    try:
        rows = np.load(embeddings, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RecipeError(f"text: {embeddings} is no NumPy array ({error}).") from error
    found = [_key(name) for name in read_names(names)]
    if rows.ndim != 2 or len(rows) != len(found):
        raise RecipeError(f"text: {embeddings} has shape {rows.shape}, {names} has {len(found)} names: no match.")
    return found, rows.astype(np.float32)


def read_names(path: Path) -> list[str]:
    """Names in order: a .json list of strings, or of records with a "name"; else one name a line.

    Raises:
        RecipeError: if the file cannot be read so.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: the names cannot be read ({error}).") from error
    if path.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        items = json.loads(text)
        return [str(item["name"]) if isinstance(item, dict) else str(item) for item in items]
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: neither a list of names nor of records with a name ({error}).") from error
