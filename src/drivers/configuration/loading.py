"""Reads a configuration from TOML files and from ``NAME=VALUE`` words."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from drivers.configuration.errors import ConfigurationError
from drivers.configuration.section import Section

Model = TypeVar("Model", bound=Section)
Tree = dict[str, Any]


def load_configuration(
    model: type[Model], files: Sequence[str | Path] = (), words: Sequence[str] = ()
) -> Model:
    """Return a configuration: the defaults, changed by files, changed by words.

    Parameters
    ----------
    model : type of Section
        `SurveyConfig`, or the section of one stage.
    files : sequence of path
        TOML; later ones override earlier ones.
    words : sequence of str
        Such as ``coadd.clip_sigma=3``: the path of a field and a TOML value. Quotes may be left
        out, and so may the brackets of a list: ``apertures=3,6``.

    Raises
    ------
    ConfigurationError
        If a file can't be read, or something is no field, not of its kind or out of its limits.
    """
    values: Tree = {}
    origins: dict[str, str] = {}
    for file in files:
        tree = _read(Path(file))
        _merge(values, tree)
        origins |= dict.fromkeys(_leaves(tree), str(file))
    for word in words:
        tree = _tree(word)
        _merge(values, tree)
        origins |= dict.fromkeys(_leaves(tree), f"-c {word}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        said = [_explain(model, detail, origins) for detail in error.errors()]
        raise ConfigurationError("; ".join(said)) from None


def _read(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error


def _tree(word: str) -> Tree:
    name, equals, text = word.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigurationError(f"-c {word!r} is not NAME=VALUE, such as coadd.clip_sigma=3")
    tree: Any = _value(text.strip())
    for part in reversed(parts):
        tree = {part: tree}
    return dict(tree)


def _value(text: str) -> Any:
    for candidate in (text, f"[{text}]" if "," in text else text):
        try:
            return tomllib.loads(f"value = {candidate}")["value"]
        except tomllib.TOMLDecodeError:
            pass
    return [part.strip() for part in text.split(",")] if "," in text else text


def _merge(values: Tree, changes: Mapping[str, Any]) -> None:
    for name, change in changes.items():
        if isinstance(change, Mapping) and isinstance(values.get(name), dict):
            _merge(values[name], change)
        else:
            values[name] = dict(change) if isinstance(change, Mapping) else change


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of all values, and of the tables that hold them."""
    names = []
    for name, value in tree.items():
        names.append(prefix + name)
        if isinstance(value, Mapping):
            names += _leaves(value, f"{prefix}{name}.")
    return names


def _explain(model: type[Section], detail: ErrorDetails, origins: Mapping[str, str]) -> str:
    """Say which field is wrong, why, and where it was set."""
    path = [str(part) for part in detail["loc"]]
    name = ".".join(path)
    set_by = next(
        (origins[part] for n in range(len(path), 0, -1) if (part := ".".join(path[:n])) in origins),
        "",
    )
    if detail["type"] == "missing":
        reason, set_by = "is missing", set_by or ", ".join(dict.fromkeys(origins.values()))
    elif detail["type"] == "extra_forbidden":
        known = _names(model, path[:-1])
        reason = f"there is no such field; there are {', '.join(known)}" if known else "unknown"
    else:
        reason = f"{detail['msg'].removeprefix('Value error, ')}, not {detail['input']!r}"
    return f"{name}: {reason}" + (f" (in {set_by})" if set_by else "")


def _names(model: type[Section], path: Sequence[str]) -> list[str]:
    """Return the names of the fields of the section at a path."""
    section: Any = model
    for part in path:
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        section = fields[part].annotation if part in fields else None
        if not (isinstance(section, type) and issubclass(section, Section)):
            return []
    return [field.alias or name for name, field in section.model_fields.items()]
