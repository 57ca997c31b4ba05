"""`zoomin reproduce`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from .command import Command, Group, of_options, say

__all__ = ["REPRODUCE"]

_SUMMARIES = {
    "colon-cancer": "Zoom-In against baselines on ten folds, both protocols",
    "needle-camelyon": "crops of Camelyon16 with one small metastasis, or none",
    "needle-mnist": "the limitation, and the three remedies that the paper proposes",
    "traffic-signs": "Swedish or German road scenes: no sign, or a limit of 50, 70, 80",
    "fmow": "ten categories of the Functional Map of the World",
    "camelyon16": "whole slides of lymph nodes",
    "ablation": "lambda, N and contrastive learning (table 4)",
    "tradeoff": "time and memory against accuracy (table 3)",
    "memory": "memory and unique tiles by epoch (figure 4)",
    "attention-roi": "attention against annotated ROI (figure 7)",
    "interpretability": "from the overview to the sub-tiles on every data set (figure 6)",
    "comparison": "the default of zoomin train against other methods on the same trunk",
}


def _build(parser: ArgumentParser) -> None:
    from ...experiments.reproduce import ReproductionConfig

    parser.add_class_arguments(ReproductionConfig)


def _command(name: str) -> Command:
    def run(parser: ArgumentParser, options: Namespace) -> int:
        from ...experiments.reproduce import ReproductionConfig, reproduce

        plan = of_options(ReproductionConfig, options)
        done = reproduce(name, plan, progress=True)
        say((done.folder / "table.md").read_text(encoding="utf-8"))
        say(f"Table, figure and configuration are in {done.folder}.")
        return 1 if done.failed else 0

    return Command(
        _SUMMARIES[name],
        "[--scale mini|paper] [--data FOLDER] [--out FOLDER] [options]",
        f"  zoomin reproduce {name}\n"
        f"  zoomin reproduce {name} --scale paper --data DIR --out reproduced/{name}\n"
        f"  zoomin reproduce {name} --scale paper --data DIR --seed [1] --epochs 20   # a part\n"
        f"  zoomin reproduce {name} --scale paper --data DIR --gather true   # table of what is done",
        _build,
        run,
        "Run the same command again: finished trainings are kept, the interrupted one resumes.",
    )


REPRODUCE = Group(
    "run an experiment of the paper, on a miniature or on the real data",
    {name: _command(name) for name in _SUMMARIES},
)
