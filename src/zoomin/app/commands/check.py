"""`zoomin data check`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from ...progress import track
from ...runtime.locks import lock_folder
from ...training.recipe_files import instantiated
from .command import Command, print_rich, say, warn_failed

__all__ = ["CHECK"]


def _build_check(parser: ArgumentParser) -> None:
    from ...data.config import DataConfig
    from ...model.config import ZoomInConfig
    from ...training.config import PretrainConfig, TrainConfig

    parser.add_argument(
        "images", nargs="*", type=str, help="a manifest CSV, folders, image files; by default --data.root"
    )
    parser.add_argument(
        "--config", action="config", help="a recipe (YAML): also lists what its model would read"
    )
    parser.add_class_arguments(ZoomInConfig, "model")
    parser.add_argument("--data.root", type=str | None, default=None, help="of the recipe")
    parser.add_class_arguments(DataConfig, "data", skip={"root"}, instantiate=False)
    for name, section in (("train", TrainConfig), ("pretrain", PretrainConfig)):  # recipes hold them too
        parser.add_class_arguments(section, name, instantiate=False)
    parser.add_argument("--out", type=str, default="check", help="folder for the table and the contact sheet")
    parser.add_argument("--seed", type=int, default=0, help="seed of the recipe; nothing is drawn here")
    parser.add_argument("--resume", type=bool, default=False, help="of the recipe; not used here")


def _check(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.check import check_images, images_to_check, label_counts, manifest_problems, write_checks
    from ...data.config import ManifestColumns
    from ...data.contact_sheet import ContactSheet
    from ...data.labels import class_order, told, unusual_order
    from ...data.leaks import leaks
    from ...images.physical import microns
    from ...model.config import ZoomInConfig
    from ..console_tables import checked_table

    values = instantiated(parser, options)
    model = None if values.model == ZoomInConfig() else values.model
    sources = options.images or [root for root in (options.data.root,) if root]
    columns = options.data.columns
    records = images_to_check(sources, ManifestColumns(**dict(columns)) if columns else None)
    mpp = None if options.data.mpp is None else microns(options.data.mpp, "data.mpp")
    checks = check_images(
        records, model, mpp=mpp, threads=options.data.threads, timeout=options.data.read_timeout
    )
    with lock_folder(options.out) as folder:
        sheet, rows = ContactSheet(folder), []
        for check in track(checks, "Checking", total=len(records)):
            sheet.add(check)
            rows.append(check.row)
        pages = sheet.finish()
        write_checks(rows, folder / "check.csv")
    print_rich(checked_table(rows))
    for split, counts in label_counts(records).items():
        say(f"{split or 'all splits'}: " + ", ".join(f"{n} {label}" for label, n in counts.items()))
    labels = {record.label for record in records if record.label is not None}
    if classes := options.data.classes or class_order(labels):
        say(told(classes))
        if doubt := unusual_order(classes):
            say(f"classes: {doubt}")
    warn_failed((r.image, f"{r.image}: {r.problem}. {r.remedy}") for r in rows if r.problem)
    for leak in leaks(rows):
        say(f"leak: {leak}")
    doubts = manifest_problems(records)
    for doubt in doubts:
        say(f"manifest: {doubt}")
    bad = sum(bool(row.problem) for row in rows)
    say(f"{len(rows)} images, {bad} with a problem: {folder / 'check.csv'}, {len(pages)} pages {pages[0]}")
    return int(bool(bad or doubts))


CHECK = Command(
    "open every image, list what is in it and what is wrong, draw a contact sheet",
    "MANIFEST | FOLDER | IMAGES ... [--config RECIPE] [--out FOLDER] [--model.SETTING VALUE ...]",
    "  zoomin data check manifest.csv --out check\n"
    "  zoomin data check slides/*.svs --config recipes/camelyon16.yaml\n"
    "  zoomin data check manifest.csv --model.mpp 0.5 --model.foreground.method otsu",
    _build_check,
    _check,
)
