"""What people write into a label column, and what becomes of it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from ..files import markdown_table

__all__ = [
    "WRITTEN",
    "Written",
    "answers_of_one_case",
    "class_order",
    "class_words",
    "describe_classes",
    "doubtful_case",
    "known",
    "labels_table",
    "natural_order",
    "plain_number",
    "same_name",
    "sounds_negative",
    "unusual_order",
]

_MISSING = frozenset(
    [
        "",
        *"na n/a n.a. n.a n/d #n/a #na <na> nan -nan none null (null) \\n nat ? . - --".split(),
        *"1.#ind -1.#ind 1.#qnan -1.#qnan #value! #div/0! #ref! #name? #num! #null!".split(),
        "#n/a n/a",
        *("'--", "not available", "not applicable", "not reported", "no data", "nodata", "missing"),
        *("[not available]", "[not applicable]", "[not evaluated]", "[unknown]", "[discrepancy]"),
    ]
)  # of pandas, R, Excel, GDC, TCGA and people; compared without case
_MINUS = dict.fromkeys(map(ord, "\u2212\u2013\u2014\ufe63\uff0d\u2010\u2011"), "-")  # of word processors
_BLANK = " \t\r\n\v\f\u00a0\u200b\u2007\u202f\ufeff"
_BLANKS = re.compile(f"[{_BLANK}]+")
_ANSWERS = frozenset({"true", "false", "yes", "no"})  # pandas writes True, spreadsheets TRUE, R and JSON true
_AFTER_MINUS = "."  # the next character after it
_WHOLE = re.compile(r"([+-]?)0*([0-9]+)(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PADDED = re.compile(r"[+-]?0[0-9]+")
_NEGATIVE = frozenset(
    "0 -1 - no n false f neg negative normal healthy benign control controls absent none background clear "
    "clean empty wt wildtype wild-type other low mss unaffected uninvolved without not alive censored "
    "nein kein keine nee geen nej non nao n\u00e3o nie \u043d\u0435\u0442 falsch faux falso "  # no, false
    "negativ negativo negativa n\u00e9gatif negatif gesund sano sain sin sans ohne unauff\u00e4llig "
    "negatief negativn\u00ed negat\u00edv negatywny ujemny negatiivinen hay\u0131r ei "
    "gutartig b\u00e9nin b\u00e9nigne benin benigno benigna benigne goedaardig absence norma normale "
    "normaal normaali normalny norm\u00e1ln\u00ed sana "
    "\u043e\u0442\u0440\u0438\u0446\u0430\u0442\u0435\u043b\u044c\u043d\u044b\u0439 "  # negative
    "\u043d\u043e\u0440\u043c\u0430 "  # normal
    "\u9634\u6027 \u9670\u6027 \u6b63\u5e38 \u826f\u6027 \u5426 \u65e0 \u7121 "  # in Chinese, Japanese
    "\u3044\u3044\u3048 \uc74c\uc131 \uc815\uc0c1 \uc544\ub2c8\uc694".split()
)
_NON = re.compile(
    r"non($|[-_\s]|tumou?r|cancer|malignan|neoplas|lesion|metasta|diseas|defect|patholog|infect|viable)"
)  # but no word that only begins so, as nonkeratinizing does


class Written(NamedTuple):
    """A way to write labels, a row of the table in the guide.

    Attributes:
        cells: as they stand in the column.
        classes: what they become, the negative class first; cells that are missing labels have none.
        why: what the guide says of it.
    """

    cells: tuple[str, ...]
    classes: tuple[str, ...]
    why: str


WRITTEN = (
    Written(("0", "1"), ("0", "1"), "numbers by value"),
    Written(("1", "-1"), ("-1", "1"), "numbers by value, with their sign"),
    Written(("1.0", "0.0"), ("0", "1"), "what pandas writes for 0 and 1 next to empty cells"),
    Written(("10", "9", "2.5"), ("2.5", "9", "10"), "numbers by value"),
    Written(("True", "False"), ("False", "True"), "names in natural order"),
    Written(
        ("True", "TRUE", "true", "FALSE", "False"),
        ("False", "True"),
        "one class each where programs write them in several cases; so are yes and no, and no other names",
    ),
    Written(("yes", "no"), ("no", "yes"), "names in natural order"),
    Written(("pos", "neg"), ("neg", "pos"), "names in natural order"),
    Written(("positive", "negative"), ("negative", "positive"), "names in natural order"),
    Written(("+", "-"), ("-", "+"), "minus before plus"),
    Written(("HER2+", "HER2-"), ("HER2-", "HER2+"), "minus before plus"),
    Written(
        ("1", "\u22121"), ("-1", "1"), "the minus and the digits of word processors are those of numbers"
    ),
    Written(("tumor", "normal"), ("normal", "tumor"), "names in natural order"),
    Written(("malignant", "benign"), ("benign", "malignant"), "names in natural order"),
    Written(
        ("normal", "cancer"),
        ("cancer", "normal"),
        "natural order; a warning says that `normal` is not the negative class",
    ),
    Written(("class10", "class2"), ("class2", "class10"), "numbers inside names by value"),
    Written(("", " ", "\u00a0"), (), "empty and blank cells: no label"),
    Written(("NA", "N/A", "n.a.", "N/D", "#N/A", "<NA>"), (), "no label"),
    Written(("(null)", "\\N"), (), "what databases write for a missing value: no label"),
    Written(
        ("cafe\u0301", "caf\u00e9"), ("caf\u00e9",), "one name, however its accents are encoded (Unicode NFC)"
    ),
    Written(
        ("lung  cancer", "lung\u00a0cancer"),
        ("lung cancer",),
        "one name, whatever the blanks between its words",
    ),
    Written(("NaN", "nan", "-nan"), (), "no label"),
    Written(("None", "none", "NULL", "null"), (), "no label, unless `data.classes` names such a class"),
    Written(
        ("none", "sign"),
        ("none", "sign"),
        "`none` is a class beside exactly one other: nothing was found. Beside more it is not a label",
    ),
    Written(("?", "."), (), "no label"),
    Written(("'--", "Not Reported", "[Not Available]", "[Unknown]"), (), "tables of GDC and TCGA: no label"),
    Written(("not available", "no data", "missing"), (), "no label; `unknown` is a class"),
    Written(("-", "\u2013", "0", "1"), ("0", "1"), "a dash is not a label, unless it is one of two classes"),
    Written(("#VALUE!", "#DIV/0!", "#N/A N/A", "-1.#IND"), (), "errors of spreadsheets: no label"),
)


def known(cell: str | None, classes: Collection[str] = ()) -> str | None:
    """What a cell says; None where it is empty, blank, or a word for "not known".

    Args:
        cell: as it stands in the table.
        classes: words that are names of classes here, whatever else they mean.

    Example:
        >>> known(" tumor "), known("NaN"), known("none", classes=["none", "tumor"])
        ('tumor', None, 'none')
    """
    if cell is None:
        return None
    plain = _plain(cell)
    return plain if plain in classes or plain.translate(_MINUS).casefold() not in _MISSING else None


def _plain(cell: str) -> str:
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", cell.strip(_BLANK)))


def class_words(cells: Iterable[str | None], classes: Collection[str] = ()) -> tuple[str, ...]:
    """Words that name classes in a column, whatever else they mean: those given, or one beside one other.

    "none" and a dash name the class without the object where there is exactly one other class.

    Args:
        cells: of the whole column.
        classes: the classes, where they are given.

    Example:
        >>> class_words(["none", "sign", ""]), class_words(["none", "0", "1"])
        (('none',), ())
    """
    if classes:
        return tuple(classes)
    written = {_plain(cell) for cell in cells if cell is not None}
    others = {name for name in written if known(name) is not None}
    words = sorted(name for name in written if name == "none" or name.translate(_MINUS) == "-")
    return tuple(words) if len(words) == 1 and len(others) == 1 else ()


def plain_number(label: str) -> str:
    """Whole numbers in one form, all other names as they are; leading zeros are part of a name.

    Example:
        >>> [plain_number(text) for text in ("1.0", "+1", "-1.", "-0", "007", "1.50", "\u22121", "tumor")]
        ['1', '1', '-1', '0', '007', '1.50', '-1', 'tumor']
    """
    digits = unicodedata.normalize("NFKC", label.translate(_MINUS))
    label = digits if _NUMBER.fullmatch(digits) or digits == "-" else label
    found = _WHOLE.fullmatch(label)
    if found is None or _PADDED.match(label):
        return label
    return ("-" if found[1] == "-" and int(found[2]) else "") + str(int(found[2]))


def same_name(label: str) -> str:
    """What two spellings of one class have in common: the number, the blanks, the case of an answer.

    Example:
        >>> same_name("TRUE") == same_name("true"), same_name("1.0") == same_name("1")
        (True, True)
    """
    plain = _plain(label)
    return plain.casefold() if plain.casefold() in _ANSWERS else plain_number(plain)


def answers_of_one_case(cells: Iterable[str | None]) -> frozenset[str]:
    """Answers such as TRUE that a column holds in several cases, without case: each is one class.

    Example:
        >>> sorted(answers_of_one_case(["True", "TRUE", "False"]))
        ['true']
    """
    written = {_plain(cell) for cell in cells if cell is not None}
    count = Counter(name.casefold() for name in written)
    return frozenset(name for name in _ANSWERS if count[name] > 1)


def class_order(names: Iterable[str]) -> list[str]:
    """Classes in their order: numbers by value where all are numbers, "-" before "+", names in natural order.

    Example:
        >>> class_order(["1", "-1"]), class_order(["grade 10", "grade 2"]), class_order(["ER+", "ER-"])
        (['-1', '1'], ['grade 2', 'grade 10'], ['ER-', 'ER+'])
    """
    names = list(names)
    if names and all(_NUMBER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    minus_first = {name: name.translate(_MINUS).replace("+", _AFTER_MINUS) for name in names}
    place = {name: number for number, name in enumerate(natural_order(set(minus_first.values())))}
    return sorted(natural_order(names), key=lambda name: place[minus_first[name]])


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort with numbers by value.

    Example:
        >>> natural_order(["img10", "img2", "b", "B"])
        ['B', 'b', 'img2', 'img10']
    """

    def key(name: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.split(r"([0-9]+)", name.casefold())
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part], name

    return sorted(names, key=key)


def describe_classes(classes: Sequence[str]) -> str:
    """The classes and which of them is the negative one, for people.

    Example:
        >>> describe_classes(["normal", "tumor"])
        "class 0, the negative one: 'normal'; class 1: 'tumor'"
    """
    first, *others = [f"{name!r}" for name in classes] or ["none"]
    shown = "; ".join(f"class {place}: {name}" for place, name in enumerate(others[:7], start=1))
    more = f"; and {len(others) - 7} more" if len(others) > 7 else ""
    return f"class 0, the negative one: {first}" + (f"; {shown}" if shown else "") + more


def unusual_order(classes: Sequence[str]) -> str:
    """A doubt about the order or the names of the classes, "" where there is none.

    Example:
        >>> unusual_order(["cancer", "normal"])
        "'cancer' is the negative class, not 'normal': if that is wrong, set data.classes to [normal,cancer]"
        >>> unusual_order(["Tumor", "normal", "tumor"])
        "the classes 'Tumor' and 'tumor' differ in nothing but their case"
    """
    if doubt := doubtful_case(classes):
        return doubt
    negative = [name for name in classes if sounds_negative(name)]
    if len(classes) < 2 or not negative or sounds_negative(classes[0]):
        return ""
    order = ",".join([negative[0], *(name for name in classes if name != negative[0])])
    doubt = f"{classes[0]!r} is the negative class, not {negative[0]!r}"
    return f"{doubt}: if that is wrong, set data.classes to [{order}]"


def doubtful_case(names: Sequence[str]) -> str:
    """A doubt about two classes or labels that may be one, "" where there is none."""
    folded: dict[str, str] = {}
    for name in names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            return f"the classes {other!r} and {name!r} differ in nothing but their case"
    return ""


def sounds_negative(name: str) -> bool:
    """Whether a class is called as the class without the object often is."""
    plain = name.casefold().translate(_MINUS)
    return re.split(r"[\s_]", plain, maxsplit=1)[0] in _NEGATIVE or _NON.match(plain) is not None


def labels_table() -> str:
    """The table of the guide, written by `python -m zoomin.data.labels`."""

    def cells(texts: Iterable[str]) -> str:
        return ", ".join(
            {"": "(empty)", " ": "(blank)", "\u00a0": "(no-break space)"}.get(t, f"`{t}`") for t in texts
        )

    rows = ([cells(w.cells), cells(w.classes) or "no label", w.why] for w in WRITTEN)
    return "\n".join(markdown_table(["written", "classes, the negative one first", "why"], rows)) + "\n"


if __name__ == "__main__":
    print(labels_table(), end="")
