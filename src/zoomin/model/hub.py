"""Models on the Hugging Face hub: `hf://USER/NAME`, or `hf://USER/NAME@REVISION`.

Only the files of a model are fetched, weights as safetensors and settings as JSON: nothing of a repository is
run. The cache, the token and offline mode (`HF_HUB_OFFLINE=1`) are those of `huggingface_hub`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError, ConfigError

__all__ = ["CARD", "FILES", "TRAINING", "HubModel", "fetched", "hub_model", "push"]

CARD, TRAINING = "README.md", "training.json"
FILES = ("model.safetensors", "config.json", "readers.json", TRAINING, CARD)  # that make a model
_ADDRESS = re.compile(r"^hf:/+([^/@]+/[^/@]+?)/?(?:@([^@]+))?$")
_LOG_IN = "Check the name; where it is private or gated, log in with hf auth login."


class HubModel(NamedTuple):
    """Where a model is on the hub.

    Attributes:
        name: USER/NAME.
        revision: a branch, a tag or a commit; None for the main branch.
    """

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        """Its address.

        Example:
            >>> str(HubModel("lab/needles", "v1"))
            'hf://lab/needles@v1'
        """
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision else "")


def hub_model(path: str | Path) -> HubModel | None:
    """The model that an address names; None for a path.

    Raises:
        ConfigError: if it begins like an address and is none.

    Example:
        >>> hub_model("hf://lab/needles@v1"), hub_model("runs/first")
        (HubModel(name='lab/needles', revision='v1'), None)
    """
    if not str(path).startswith("hf:/"):
        return None
    found = _ADDRESS.match(str(path))
    if found is None:
        raise ConfigError(
            "not the address of a model on the hub",
            where=path,
            remedy="Give hf://USER/NAME or hf://USER/NAME@REVISION.",
        )
    return HubModel(found[1], found[2])


def fetched(path: str | Path) -> Path:
    """The folder of a model: a path as it is, one of the hub after its files were fetched, or from the cache.

    Raises:
        CheckpointError: if there is no such model, or it cannot be reached and is not in the cache.
        ConfigError: if the address is none.
    """
    model = hub_model(path)
    if model is None:
        return Path(path)
    from huggingface_hub import snapshot_download

    with _explained(model):
        return Path(snapshot_download(model.name, revision=model.revision, allow_patterns=list(FILES)))


def push(folder: Path, model: HubModel, *, private: bool) -> HubModel:
    """Send the files of a model to the hub; the repository is made where there is none.

    Args:
        folder: with the files; others in it are not sent.
        model: where to; a revision is a branch, which is made too.
        private: whether a new repository is.

    Returns:
        The model at the commit that was made.

    Raises:
        CheckpointError: if the hub cannot be reached, or does not let this user write there.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _explained(model):
        api.create_repo(model.name, private=private, exist_ok=True)
        if model.revision is not None:
            api.create_branch(model.name, branch=model.revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=model.name,
            folder_path=folder,
            revision=model.revision,
            allow_patterns=list(FILES),
            commit_message="Share a model of zoomin",
        )
    return HubModel(model.name, commit.oid)


@contextmanager
def _explained(model: HubModel) -> Iterator[None]:
    """Say what went wrong with the hub, and what to do.

    Raises:
        CheckpointError: if the hub cannot be reached, or does not know the model or the user.
        ConfigError: if the name cannot be one.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise ConfigError(
            f"not a valid name of a model ({error})", where=model, remedy="Give hf://USER/NAME."
        ) from error
    except errors.RevisionNotFoundError as error:
        what = f"there is no revision {model.revision!r}"
        raise CheckpointError(what, where=model, remedy="Name a branch, a tag or a commit.") from error
    except errors.RepositoryNotFoundError as error:  # also where a token is missing
        raise CheckpointError("there is no such model on the hub", where=model, remedy=_LOG_IN) from error
    except errors.OfflineModeIsEnabled as error:
        what = "HF_HUB_OFFLINE is set"
        raise CheckpointError(what, where=model, remedy="Unset it to reach the hub.") from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            "not in the cache of this computer, and the hub cannot be reached",
            where=model,
            remedy="Load it once with a connection and without HF_HUB_OFFLINE, or give a folder.",
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        what = f"the hub refuses ({str(error).strip().splitlines()[0]})"
        raise CheckpointError(what, where=model, remedy=_LOG_IN) from error
