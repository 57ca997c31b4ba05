"""`zoomin data check`."""

from __future__ import annotations

import json

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from ...errors import ConfigError
from ...files import plain
from ...progress import track
from ...runtime.locks import lock_folder
from ...training.recipe_files import find_recipe, instantiated, load_recipe
from ..suggestions import did_you_mean
from .command import Command, option, print_rich, say, warn_failed

__all__ = ["CHECK"]

_SECTIONS = "data model train pretrain frozen cv out seed resume".split()  # of a recipe, and of a run's file
_MANY = 30  # labels, more of which are counted and not listed


class _Recipe(ActionConfigFile):
    """Takes of a recipe what concerns its images: the other sections say how to train."""

    def __call__(  # type: ignore[override]
        self, parser: ArgumentParser, cfg: Namespace, values: str, option_string: str | None = None
    ) -> None:
        """Apply the data, and the model if it is Zoom-In.

        Raises:
            ConfigError: if the file cannot be read, or has a section that no recipe has.
        """
        path = find_recipe(values)
        recipe = load_recipe(path)
        if unknown := [name for name in recipe if name not in _SECTIONS]:
            raise ConfigError(
                f"no section {unknown[0]!r} in a recipe",
                where=path,
                remedy=did_you_mean(unknown[0], _SECTIONS) or f"There are {', '.join(_SECTIONS)}.",
            )
        kept = {name: recipe[name] for name in ("data", "model") if recipe.get(name)}
        if isinstance(kept.get("model"), dict) and "name" in kept["model"]:  # a baseline has no overview
            del kept["model"]
        super().__call__(parser, cfg, yaml.safe_dump(kept), option_string)  # type: ignore[no-untyped-call]


def _build_check(parser: ArgumentParser) -> None:
    from ...data.config import DataConfig
    from ...model.config import ZoomInConfig

    parser.add_argument(
        "images",
        nargs="*",
        type=str,
        default=[],
        help="a manifest CSV, folders, image files; by default --data.root",
    )
    parser.add_argument(
        "--config",
        action=_Recipe,
        help="a recipe (YAML), for its images and what its model would read; its other sections are not used",
    )
    parser.add_class_arguments(ZoomInConfig, "model")
    option(parser, "--data.root", None, "images in any layout that train accepts; by default the recipe's")
    parser.add_class_arguments(DataConfig, "data", skip={"root"}, instantiate=False)
    option(parser, "--out", "check", "folder for the table and the contact sheet")
    option(parser, "--json", False, "print all that was found as JSON, instead of the table")


def _check(parser: ArgumentParser, options: Namespace) -> int:
    from ...data.check import check_images, images_to_check, label_counts, manifest_problems, write_checks
    from ...data.check_report import checks_as_json
    from ...data.config import ManifestColumns
    from ...data.contact_sheet import ContactSheet
    from ...data.labels import class_order, describe_classes, unusual_order
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
        records,
        model,
        mpp=mpp,
        channels=options.data.channels or (),
        threads=options.data.threads,
        timeout=options.data.read_timeout,
    )
    with lock_folder(options.out) as folder:
        sheet, rows = ContactSheet(folder), []
        for check in track(checks, "Checking", total=len(records)):
            sheet.add(check)
            rows.append(check.row)
        pages = sheet.finish()
        write_checks(rows, folder / "check.csv")
    labels = {record.label for record in records if record.label is not None}
    classes = options.data.classes or class_order(labels)
    found, doubts, bad = leaks(rows), manifest_problems(records), sum(bool(row.problem) for row in rows)
    if options.json:
        say(json.dumps(plain(checks_as_json(records, rows, found, classes)), indent=2))
        return int(bool(bad or doubts))
    print_rich(checked_table(rows))
    many = len(labels) > _MANY  # values, or combinations of labels
    for split, counts in label_counts(records).items():
        listed = [f"{n} {label}" for label, n in counts.items()]
        shown = f"{counts.total()} images, {len(listed)} different labels" if many else ", ".join(listed)
        say(f"{split or 'all splits'}: {shown}")
    if classes and not many:
        say(describe_classes(classes))
        if doubt := unusual_order(classes):
            say(f"classes: {doubt}")
    warn_failed((r.image, f"{r.image}: {r.problem}. {r.remedy}") for r in rows if r.problem)
    for leak in found:
        say(f"leak: {leak}")
    for doubt in doubts:
        say(f"manifest: {doubt}")
    sheets = f"{len(pages)} page{'s' * (len(pages) > 1)}: {pages[0]}"
    say(f"{len(rows)} images, {bad} with a problem: {folder / 'check.csv'}, {sheets}")
    return int(bool(bad or doubts))


CHECK = Command(
    "open every image, list its contents and problems, draw a contact sheet",
    "MANIFEST | FOLDER | IMAGES ... [--config RECIPE] [--out FOLDER] [--model.SETTING VALUE ...]",
    "  zoomin data check manifest.csv --out check\n"
    "  zoomin data check slides/*.svs --config recipes/camelyon16.yaml\n"
    "  zoomin data check slides/*.svs --json\n"
    "  zoomin data check manifest.csv --model.mpp 0.5 --model.foreground.method otsu",
    _build_check,
    _check,
)
