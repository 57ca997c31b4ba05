"""An explanation as a folder of files: explanation.json, arrays.npz, overview and crops.

The JSON says what a reader wants to know: the answer, how it was found, the heaviest tiles and sub-tiles.
The arrays hold every number in full, however many sub-tiles there are. docs/explain.md documents both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from .._version import __version__
from ..errors import ConfigError, DataError, ImageError
from ..files import parse_json, remove_leftovers, whole_file, write_json
from ..geometry import Region
from ..images.formats.decode import decode_image
from ..images.georeference import Georeference
from ..model.npz_files import read_npz_file
from ..model.targets import Target, target_named
from .blocks import BlockEvidence

if TYPE_CHECKING:
    from .evidence import Evidence, Source

__all__ = ["ARRAYS", "CROPS_FOLDER", "JSON", "LISTED", "OVERVIEW", "load_fields", "save_evidence"]

JSON, ARRAYS, OVERVIEW, CROPS_FOLDER = "explanation.json", "arrays.npz", "overview.png", "crops"
SCHEMA, VERSION = "zoomin-explanation", 2
_READ = (1, 2)  # version 1 has no orders of its own: sub-tiles by weight, tiles by attention
LISTED = 100  # tiles of highest attention and heaviest sub-tiles that the JSON lists; the arrays hold all
_TENSORS = (
    "logits bias attention tiles alpha beta sub_tiles weight contribution tile position replicate".split()
)
_OPTIONAL = ("order", "tile_order", "mean_logits", "usual", "overview_added")
_MEAN, _OVERVIEW, _BIAS = "training mean", "overview", "bias"
_BLOCK_TENSORS = ("regions", "alpha", "inside")
_DAMAGE = (
    *(
        ImageError,
        ConfigError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OSError,
        EOFError,
        MemoryError,
    ),
    *(NotImplementedError, RuntimeError, OverflowError, SyntaxError),
)
_PROVENANCE = ("model", "sampling", "n_samples", "replicates", "seed")


def save_evidence(explanation: Evidence, folder: str | Path) -> Path:
    """Write an explanation into a folder; explanation.json comes last, so that it shows that all is there.

    Returns:
        The path of explanation.json.
    """
    folder = Path(folder)
    (folder / CROPS_FOLDER).mkdir(parents=True, exist_ok=True)
    done = folder / JSON
    done.unlink(missing_ok=True)
    for one in (folder, folder / CROPS_FOLDER):
        remove_leftovers(one)
    for pattern in ("*tile_*.png", "block_*.png"):
        for old in (folder / CROPS_FOLDER).glob(pattern):
            old.unlink()
    present = [name for name in (*_TENSORS, *_OPTIONAL) if getattr(explanation, name) is not None]
    arrays = {name: getattr(explanation, name).numpy() for name in present}
    for stage, blocks in enumerate(explanation.blocks, 1):
        arrays |= {_block_array(stage, name): getattr(blocks, name).numpy() for name in _BLOCK_TENSORS}
    with whole_file(folder / ARRAYS) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    _write_png(explanation.overview, folder / OVERVIEW)
    crops = _write_crops(explanation.crops, folder, "sub_tile")
    tile_crops = _write_crops(explanation.tile_crops, folder, "tile")
    context = (
        [] if explanation.context is None else _write_crops(explanation.context, folder, "around_sub_tile")
    )
    above = [
        _blocks(one, _write_crops(one.crops, folder, f"block_{stage}"))
        for stage, one in enumerate(explanation.blocks, 1)
    ]
    document = _document(explanation, crops, context, tile_crops)
    write_json(done, {**document, "blocks": above} if above else document, indent=1)
    return done


def load_fields(path: str | Path) -> dict[str, Any]:
    """The fields of the explanation that `save_evidence` wrote; `source` and `provenance` as dictionaries.

    Raises:
        DataError: if a file is missing, damaged, or written by a newer version.
    """
    path = Path(path)
    folder, path = (path, path / JSON) if path.is_dir() else (path.parent, path)
    document = _read_document(path)
    try:
        arrays = _read_arrays(folder / ARRAYS)
        _check_orders(arrays)
        _check_numbers(arrays)
        blocks = tuple(
            BlockEvidence(
                size=one["size"],
                crops=_read_crops(folder, one["crops"]),
                **{name: arrays.pop(_block_array(stage, name)) for name in _BLOCK_TENSORS},
            )
            for stage, one in enumerate(document.get("blocks", ()), 1)
        )
        return {
            **{name: array for name, array in arrays.items() if name in (*_TENSORS, *_OPTIONAL)},
            "blocks": blocks,
            "one_stage": document.get("stages") == 1,
            "image": document["image"],
            "size": (document["height"], document["width"]),
            "classes": tuple(document["classes"]),
            "target": target_named(
                document.get("target", "classes"),
                document["classes"],
                document.get("mean", 0.0),
                document.get("std", 1.0),
            ),
            "tile_size": document["tile_size"],
            "overview": _read_png(folder, document["overview"]),
            "crops": _read_crops(folder, document["crops"]),
            "context": _read_crops(folder, document["context"]) if document.get("context") else None,
            "tile_crops": _read_crops(folder, document["tile_crops"]),
            "standard_error": math.nan if document["standard_error"] is None else document["standard_error"],
            "ood_p_value": None if (p := document.get("ood_p_value")) is None else float(p),
            "abstained": str(document.get("abstained", "")),
            "is_overview_first": _is_overview_first(document),
            "truth": document["truth"],
            "source": _source(document),
            "provenance": {name: document[name] for name in _PROVENANCE},
        }
    except FileNotFoundError as error:
        raise DataError(
            f"the file {Path(error.filename).name} of this explanation is missing",
            where=folder,
            remedy="Explain the image again with zoomin explain.",
        ) from error
    except _DAMAGE as error:
        raise DataError(
            f"damaged ({error})", where=folder, remedy="Explain the image again with zoomin explain."
        ) from error


def _is_overview_first(document: dict[str, Any]) -> bool | None:
    """Whether the account starts from what the overview says; None where it does not, or nothing says so."""
    return {_OVERVIEW: True, _BIAS: False}.get(document.get("account_starts_from", ""))


def _target_document(target: Target) -> dict[str, Any]:
    """What the logits mean, where that is not classes."""
    if target.kind == "classes":
        return {}
    return {
        "target": target.kind,
        **{name: getattr(target, name) for name in ("mean", "std") if target.kind == "value"},
    }


def _document(
    explanation: Evidence, crops: list[str], context: list[str], tile_crops: list[str]
) -> dict[str, Any]:
    one = explanation
    by_class = {
        "probabilities": one.probabilities,
        "logits": one.logits,
        "bias": one.bias,
        "baseline": one.baseline,
        "baseline_probabilities": one.kind.answers(one.baseline),
        **({} if one.overview_added is None else {"overview_added": one.overview_added}),
    }
    known = {True: _OVERVIEW, False: _BIAS, None: None}[one.is_overview_first]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "zoomin": __version__,
        "image": one.image,
        **_source_document(one.source),
        "height": one.size[0],
        "width": one.size[1],
        "coordinates": "level-0 pixels of the image, x to the right, y down",
        "classes": list(one.classes),
        "prediction": one.prediction,
        **_target_document(one.kind),
        "truth": one.truth,
        **{name: dict(zip(one.classes, row.tolist(), strict=True)) for name, row in by_class.items()},
        "account_starts_from": known if one.mean_logits is None else _MEAN,
        "standard_error": None if math.isnan(one.standard_error) else one.standard_error,
        "ood_p_value": one.ood_p_value,
        "abstained": one.abstained,
        **{name: getattr(one.provenance, name) for name in _PROVENANCE},
        "stages": 1 if one.one_stage else 2 + len(one.blocks),
        "tile_size": one.tile_size,
        "rows": one.attention.shape[0],
        "columns": one.attention.shape[1],
        "map_rows": one.beta.shape[1],
        "map_columns": one.beta.shape[2],
        "n_tiles_drawn": 0 if one.one_stage else len(one.tiles),
        "n_sub_tiles": len(one.sub_tiles),
        "n_sub_tiles_read": len(one.places().weight),
        "tiles": _tiles(one, tile_crops),
        "sub_tiles": _sub_tiles(one, crops),
        "overview": OVERVIEW,
        "crops": crops,
        "context": context,
        "tile_crops": tile_crops,
        "arrays": ARRAYS,
    }


def _source_document(source: Source) -> dict[str, Any]:
    identity, georeference = source.identity, source.georeference
    return {
        "file": None
        if identity is None
        else dict(zip(("path", "bytes", "modified_ns"), identity, strict=True)),
        "mpp": source.mpp,
        "bounds": None if source.bounds is None else source.bounds._asdict(),
        "georeference": None
        if georeference is None
        else {"crs": georeference.crs, "transform": list(georeference.transform)},
    }


def _source(document: dict[str, Any]) -> dict[str, Any]:
    file, bounds, georeference = document["file"], document["bounds"], document["georeference"]
    return {
        "identity": None if file is None else (file["path"], file["bytes"], file["modified_ns"]),
        "mpp": document["mpp"],
        "bounds": None if bounds is None else Region(**bounds),
        "georeference": None
        if georeference is None
        else Georeference(georeference["crs"], tuple(georeference["transform"])),
    }


def _box(box: Sequence[float]) -> dict[str, int | float]:
    """Whole numbers without a decimal point."""
    return {
        name: int(value) if value == int(value) else value
        for name, value in zip(("x", "y", "width", "height"), box, strict=True)
    }


def _block_array(stage: int, name: str) -> str:
    return f"block_{stage}_{name}"


def _blocks(one: BlockEvidence, crops: list[str]) -> dict[str, Any]:
    drawn = [
        {**_box(box), "alpha": alpha, "crop": crops[rank] if rank < len(crops) else None}
        for rank, (box, alpha) in enumerate(zip(one.regions.tolist(), one.alpha.tolist(), strict=True))
    ]
    return {"size": one.size, "n_drawn": len(drawn), "crops": crops, "drawn": drawn[:LISTED]}


def _tiles(one: Evidence, crops: list[str]) -> list[dict[str, Any]]:
    rows = [] if one.one_stage else one.top_tiles()[:LISTED].tolist()
    blocks = [(stage.holding(one.tiles) + 1).tolist() for stage in one.blocks]
    return [
        {
            **_box(one.tiles[row].tolist()),
            "alpha": float(one.alpha[row]),
            **({"blocks": [ranks[row] for ranks in blocks]} if blocks else {}),
            "crop": crops[rank] if rank < len(crops) else None,
        }
        for rank, row in enumerate(rows)
    ]


def _sub_tiles(one: Evidence, crops: list[str]) -> list[dict[str, Any]]:
    places = one.places()
    return [
        {
            **_box(places.regions[k].tolist()),
            "weight": float(places.weight[k]),
            "contribution": dict(zip(one.classes, places.contribution[k].tolist(), strict=True)),
            "added": dict(zip(one.classes, places.added[k].tolist(), strict=True)),
            "alpha": float(places.alpha[k]),
            "beta": float(places.beta[k]),
            "times_drawn": int(places.times[k]),
            "crop": crops[k] if k < len(crops) else None,
        }
        for k in range(min(LISTED, len(places.regions)))
    ]


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        remedy = "Make it with zoomin explain."
        raise DataError("there is no explanation here", where=path.parent, remedy=remedy) from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", where=path, remedy="Explain the image again.") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise DataError("not an explanation", where=path, remedy="Give a folder that zoomin explain wrote.")
    if document.get("version") not in _READ:
        raise DataError(
            f"written in version {document.get('version')} of the format; this zoomin reads up to {VERSION}",
            where=path,
            remedy="Upgrade zoomin, or explain the image again.",
        )
    return document


def _read_arrays(path: Path) -> dict[str, Tensor]:
    arrays = read_npz_file(path)
    known = (*_OPTIONAL, *(name for name in arrays if name.startswith("block_")))
    names = [*_TENSORS, *(name for name in known if name in arrays)]
    return {name: torch.from_numpy(arrays[name]) for name in names}


def _check_orders(arrays: dict[str, Tensor]) -> None:
    """Refuse orders that do not name every sub-tile and every drawn tile once."""
    counts = {"order": len(torch.unique(arrays["sub_tiles"], dim=0)), "tile_order": len(arrays["tiles"])}
    for name, count in counts.items():
        if name in arrays and not torch.equal(arrays[name].sort().values, torch.arange(count)):
            raise ValueError(f"{name} does not name each of {count} once")


def _check_numbers(arrays: dict[str, Tensor]) -> None:
    """Refuse sub-tiles of tiles and positions that there are not."""
    counts = {"tile": len(arrays["tiles"]), "position": arrays["beta"].flatten(1).shape[1]}
    for name, count in counts.items():
        if len(arrays[name]) and not 0 <= int(arrays[name].min()) <= int(arrays[name].max()) < count:
            raise ValueError(f"{name} numbers one of {count} that is not there")


def _write_crops(crops: UInt8[Tensor, "n 3 h w"], folder: Path, name: str) -> list[str]:
    names = [f"{CROPS_FOLDER}/{name}_{rank + 1:02d}.png" for rank in range(len(crops))]
    for file, crop in zip(names, crops, strict=True):
        _write_png(crop, folder / file)
    return names


def _read_crops(folder: Path, names: list[str]) -> UInt8[Tensor, "n 3 h w"]:
    crops = [_read_png(folder, name) for name in names]
    return torch.stack(crops) if crops else torch.zeros(0, 3, 1, 1, dtype=torch.uint8)


def _write_png(pixels: UInt8[Tensor, "3 h w"], path: Path) -> None:
    from PIL import Image as PillowImage

    with whole_file(path, sync=False) as part:
        PillowImage.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(part, format="png")


def _read_png(folder: Path, name: str) -> UInt8[Tensor, "3 h w"]:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} is outside the folder")
    path.stat()  # says which file is missing
    return decode_image(path).pixels
