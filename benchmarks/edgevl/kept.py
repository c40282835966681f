"""The shard of the samples that curation kept: what a row trains on that knows the classes instead of the teacher's guesses.

Without curation a run's labels are those of the data set. Curation depends on teacher and images alone, so any run of stage 1 has the same.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from halves import SHARD, add_sample, shard_samples

FILE = "kept-000000.tar"


def write_kept(run: Path, data: Path) -> bool:
    """Write the shard beside that of the students' half, once; whether it is there.

    Args:
        run: a run of stage 1.
        data: the folder that holds the shard of the students' half.
    """
    import pyarrow.parquet

    target, table = data / FILE, run / "curate" / "kept.parquet"
    if target.is_file() or not table.is_file():
        return target.is_file()
    rows = pyarrow.parquet.read_table(table).to_pylist()
    kept = {row["id"].rpartition("/")[2] for row in rows if row["kept"]}
    unfinished = target.with_suffix(".partial")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in shard_samples(data / SHARD):
            if sample[""].decode() in kept:
                add_sample(tar, sample)
    unfinished.replace(target)
    return True
