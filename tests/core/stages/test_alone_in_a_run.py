"""Files of a run that are wrong at batch 1, and there alone: `verify RUN` shows them a few samples one by one."""

import json

import pytest

from edgefw.verifying.reverify import verify_run

FLOAT, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"


@pytest.fixture
def verified(copy, off_when_alone):
    """`verified(name, factor)`: the run's verdict, one of its files wrong at batch 1."""

    def check(name, factor, **how):
        file, stated = copy / f"export/{name}/model.onnx", copy / "export/stage.json"
        off_when_alone(file, factor, **how)
        stage = json.loads(stated.read_text())
        stage["files"][f"{name}/model.onnx"] = file.stat().st_size
        stated.write_text(json.dumps(stage))
        found = verify_run(copy)
        return found, {(row["artefact"], row["check"]): row for row in found["budget"]}

    return check


def test_at_batch_1_every_sensor_has_its_numbers_beside_those_of_the_batch(run, result):
    for record in result(run, "verify")["artefacts"]:
        each = {role: row["batch_1"] for role, row in record["modalities"].items()}
        assert set(each) == {"rgb", "depth"} and {row["n"] for row in each.values()} == {14, 15}
        assert record["batch_1"]["cosine_min"] == min(row["cosine_min"] for row in each.values()) > 0.9
        assert record["batch_1"]["cosine_mean"] == min(row["cosine_mean"] for row in each.values())
        assert record["batch_1"]["relative_error_max"] == max(row["relative_error_max"] for row in each.values())
        assert record["batch_1"]["cosine_mean"] == pytest.approx(record["cosine_mean"], abs=0.01)


def test_a_float_file_that_is_off_at_batch_1_fails(verified):
    found, rows = verified(FLOAT, 1.2)
    record = next(row for row in found["artefacts"] if row["name"] == FLOAT)
    assert record["relative_error_max"] < 1e-4
    assert record["batch_1"]["relative_error_max"] == pytest.approx(0.2, abs=1e-3)
    for check, limit in (("max_error", 0.01), ("max_batch_error", 0.01)):
        row = rows[FLOAT, check]
        assert (row["limit"], row["ok"]) == (limit, False) and row["value"] == pytest.approx(0.2, abs=1e-3)
    assert all(row["ok"] for (name, check), row in rows.items() if name == INT8 and check == "max_batch_error")


def test_a_rounded_file_is_held_to_max_batch_error_alone(verified):
    found, rows = verified(INT8, 1.2)
    record = next(row for row in found["artefacts"] if row["name"] == INT8)
    assert record["batch_1"]["relative_error_mean"] > 0.1
    assert rows[INT8, "max_batch_error"]["limit"] == 0.25 and rows[INT8, "max_batch_error"]["ok"]
    assert (INT8, "max_error") not in rows


@pytest.mark.parametrize(("most", "batch"), [(1, 5), (8, 16)])  # 8: images alone stand beside batches of 8
def test_a_rounded_file_that_points_elsewhere_at_batch_1_is_held_to_its_cosine_there(
    run, result, copy, verified, most, batch
):
    stated = (copy / "resolved.yaml").read_text()
    (copy / "resolved.yaml").write_text(stated.replace("batch: 5\n", f"batch: {batch}\n"))
    right = next(
        row for row in result(run, "verify")["budget"] if (row["artefact"], row["check"]) == (INT8, "min_cosine")
    )
    found, rows = verified(INT8, 1.2, turned=True, most=most)
    record, row = next(row for row in found["artefacts"] if row["name"] == INT8), rows[INT8, "min_cosine"]
    lost = record["batch_1"]["cosine_lost"]
    assert right["ok"] and lost == pytest.approx(0.02, abs=0.005)
    each = [own["cosine_mean"] - own["batch_1"]["cosine_lost"] for own in record["modalities"].values()]
    assert row["value"] == pytest.approx(min(each))
    assert row["value"] < right["value"] - 0.01 and rows[INT8, "max_batch_error"]["ok"]


def test_agreement_and_drop_are_said_of_images_alone_too(run, result):
    for record in result(run, "verify")["artefacts"]:
        for row in record["modalities"].values():
            assert 0.0 <= row["batch_1"]["top1_agreement"] <= 1.0
        drop = record["batch_1"]["drop"]
        assert drop["low"] <= drop["points"] <= drop["high"]
        assert drop["n"] == record["modalities"][drop["modality"]]["batch_1"]["n"]
