"""The closed vocabulary of what pieces provide to each other and need from each other.

A technique `provides` words of its own kind ("embedding" of a teacher); another one `needs` them in full
("teacher.embedding"). An unknown word is an error at registration. Facts that are numbers (widths, grids, mean and
standard deviation) are not capabilities: the built piece carries them in its `spec`.
"""

from __future__ import annotations

CAPABILITIES: dict[str, str] = {
    "teacher.embedding": "one image embedding per image, in the space the texts live in",
    "teacher.text": "a text tower: sentences to embeddings in the image space",
    "teacher.tokens": "patch tokens of the last block, on a known grid",
    "teacher.qkv": "queries, keys and values of the last block, per head",
    "student.pooled": "one pooled feature vector per image",
    "student.map": "a feature map with a known stride",
    "student.tokens": "patch tokens on a known grid",
    "student.attention": "attention layers whose queries and keys pass modules named q_norm and k_norm, by head",
    "student.checkpointing": "gradient checkpointing through the backbone's own switch",
    "projector.head": "a head from pooled features to the teacher's width, kept at export",
    "projector.alignment": "an alignment that only training uses, dropped at export",
    "projector.tokens": "an alignment to the grid and the width of the teacher's tokens",
    "projector.qkv": "an alignment to queries, keys and values with the teacher's heads and cells",
    "loss.adversary": "a second player with an optimiser and a cadence of its own",
    "scheme.peer": "a second voice beside the student, row by row: another student, or a mix of outputs",
    "sampler.groups": "role-tagged groups (anchor, positive, negative) instead of plain batches",
    "sampler.views": "each sample several times in a batch, the role the number of its view",
    "view.clean": "shows view 0 of a sample as it is, where a batch holds several",
    "quantizer.module": "quantises during training: works on the module",
    "quantizer.program": "quantises an exported program",
    "quantizer.onnx": "quantises an ONNX file",
    "quantizer.timed": "times its files on this machine, so that threads change what it makes",
    "backend.module": "compiles a torch module",
    "backend.program": "compiles an exported program",
    "backend.onnx": "compiles and opens an ONNX file",
    "backend.runs-onnx": "runs an ONNX file as it is, so that a quantizer can time one",
    "backend.float-only": "compiles float networks only: a last phase with a quantizer of its own is refused",
    "run.labels": "pseudo-labels of a curation stage",
    "run.texts": "text embeddings of a label list (curate.labels, or evaluate.labels)",
    "run.reference": "the frozen student of an earlier phase",
    "run.pairs": "two modalities or more per sample",
}


def unknown_words(kind: str, provides: frozenset[str], needs: frozenset[str]) -> list[str]:
    """The words that are not in the vocabulary, in full spelling."""
    full = {f"{kind}.{word}" for word in provides} | set(needs)
    return sorted(full - CAPABILITIES.keys())
