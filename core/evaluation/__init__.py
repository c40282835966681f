"""Metrics on embeddings, in NumPy: zero-shot accuracy, agreement, AUC, retrieval, calibration. It knows nothing above it.

Two conventions hold throughout. What the model says comes first, the truth second. A label below 0 means "unknown":
such rows are left out; a metric without any row is NaN, never 0.
"""

from edgefw.evaluation.accuracy import agreement, balanced_top1, confusion, per_class_accuracy, predictions, top1
from edgefw.evaluation.calibration import ReliabilityBin, expected_calibration_error, reliability, softmax
from edgefw.evaluation.drop import Drop, drop_text, worst_drop
from edgefw.evaluation.interval import bootstrap_interval
from edgefw.evaluation.neighbours import knn_top1, leave_one_out_top1
from edgefw.evaluation.ranking import auc_of_present, auc_one_vs_rest, auc_per_class
from edgefw.evaluation.retrieval import retrieval_recall
from edgefw.evaluation.similarity import unit_rows, zero_shot_scores

__all__ = [
    "Drop",
    "ReliabilityBin",
    "agreement",
    "auc_of_present",
    "auc_one_vs_rest",
    "auc_per_class",
    "balanced_top1",
    "bootstrap_interval",
    "confusion",
    "drop_text",
    "expected_calibration_error",
    "knn_top1",
    "leave_one_out_top1",
    "per_class_accuracy",
    "predictions",
    "reliability",
    "retrieval_recall",
    "softmax",
    "top1",
    "unit_rows",
    "worst_drop",
    "zero_shot_scores",
]
