"""Tables in the terminal: problems first, epochs counted from 1, no number without its interval or reason."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from zoomin.app.console_tables import checked_table, checks_table, metrics_table, protocols_table
from zoomin.app.doctor import Check
from zoomin.data.check import Checked


def shown(table: Table) -> list[str]:
    """The lines that a wide terminal shows, without ruling."""
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table)
    return [" ".join(line.replace("│", " ").split()) for line in captured.get().splitlines()]


def test_metrics_have_their_intervals_and_count_epochs_from_one() -> None:
    metrics = {
        "epoch": 4,
        "learned": {
            "head": "gated",
            "notes": "not a number that is shown",
            "held_out": {
                "gated": {"accuracy": 0.7, "accuracy_interval": [0.6, 0.8], "log_loss": 0.5},
                "linear": {"accuracy": 0.6},
            },
        },
        "test": {
            "accuracy": 0.75,
            "accuracy_interval": [0.5, 0.9],
            "auroc": 0.8,
            "interval_reasons": {"auroc": "too few images"},
            "balanced_accuracy": None,
        },
    }
    lines = shown(metrics_table("a run", metrics))
    assert "epoch kept 5" in lines and "test images: accuracy 0.75 0.500 to 0.900" in lines
    assert "test images: AUROC 0.8 too few images" in lines
    assert [line for line in lines if "inner" in line] == [
        "held out in inner folds: accuracy 0.7 0.600 to 0.800"
    ]
    assert not any("balanced" in line or "notes" in line for line in lines)


def test_no_column_is_empty() -> None:
    assert not any("interval" in line for line in shown(metrics_table("a run", {"seconds": 3.0})))


def test_protocols_stand_side_by_side() -> None:
    known, unknown = {"mean": 0.9, "sd": 0.05}, {"mean": None, "sd": None}
    scores = {"accuracy": known, "balanced_accuracy": {"mean": 0.5, "sd": None}, "auroc": unknown}
    lines = shown(protocols_table({"protocols": {"last_epoch": {"what": "last epoch", **scores}}}))
    assert "last epoch 0.900 (0.050) 0.500" in lines


def test_images_with_a_problem_come_first_and_all_are_counted() -> None:
    fine = [
        Checked(
            f"slides/{n}.svs", width=90, height=70, mpp=0.25, format="TIFF", compression="JPEG", tissue=0.5
        )
        for n in range(70)
    ]
    bad = Checked("slides/[bad].svs", problem="cannot be decoded", width=None)
    lines = shown(checked_table([*fine, bad]))
    rows = [line for line in lines if ".svs" in line]
    assert len(rows) == 60 and "11 more in check.csv" in lines
    assert rows[0].startswith("[bad].svs") and rows[0].endswith("cannot be decoded"), "markup is escaped"
    assert rows[1] == "0.svs TIFF JPEG 90 x 70 0.25 50%"


def test_images_of_one_name_are_told_apart_by_their_folders() -> None:
    names = ["x/a/1.png", "x/b/1.png", "x/b/2.png", "y/b/1.png", "z.png", "z.png"]
    lines = shown(checked_table([Checked(name, width=90, height=70, format="PNG") for name in names]))
    expected = ["a/1.png", "x/b/1.png", "2.png", "y/b/1.png", "z.png", "z.png"]
    assert [line.split()[0] for line in lines if ".png" in line] == expected


def test_what_the_doctor_found() -> None:
    checks = [Check("GDAL", "ok", "3.9"), Check("Chromium", "absent", "not found", "apt install chromium")]
    lines = shown(checks_table(checks))
    assert "ok GDAL 3.9" in lines and "absent Chromium not found apt install chromium" in lines
