"""`blindsight schemes`: every scheme, its operations, and the basis of its security."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blindsight.cli import output
from blindsight.cli.options import Json

if TYPE_CHECKING:
    from blindsight.additive.schemes import AdditiveScheme
    from blindsight.parameters import ParameterSet

_EXTRA = "lightphe"


def schemes(as_json: Json = False) -> None:
    """List every scheme: what it is for, its sizes, what its security rests on."""
    from blindsight.additive.schemes import AdditiveScheme
    from blindsight.parameters import PARAMETER_SETS

    if as_json:
        rings = [_set_document(parameters) for parameters in PARAMETER_SETS.values()]
        output.document({"schemes": [*rings, *map(_additive_document, AdditiveScheme)]})
        return
    output.show(output.text(("Search and verify: products of two ciphertexts", "bold")))
    output.show(_sets(list(PARAMETER_SETS.values())))
    output.show(output.text(("Combine: additive schemes, weights in the clear, no quantum security", "bold")))
    output.show(_additive(list(AdditiveScheme)))
    _notes()


def _sets(sets: list[ParameterSet]) -> output.Table:
    from blindsight.parameters import DEFAULT_PARAMETERS

    table = output.table("scheme", "parameter set", "values", "security", "quantum")
    for parameters in sets:
        default = parameters is DEFAULT_PARAMETERS[parameters.scheme]
        table.add_row(
            parameters.scheme.name.lower(),
            parameters.name + (" (default)" if default else ""),
            "exact on rounded" if parameters.plain_modulus else "approximate",
            f"{parameters.security_bits}-bit",
            f"{parameters.quantum_bits}-bit" if parameters.quantum_bits else "no",
        )
    return table


def _additive(chosen: list[AdditiveScheme]) -> output.Table:
    from blindsight.additive.layout import MOST_RESULT_BITS
    from blindsight.additive.schemes import ALL, SCHEMES

    table = output.table("scheme", "can do", "key bits", "room", "rests on", right=("room",))
    table.columns[0].no_wrap = True
    for scheme in chosen:
        info = SCHEMES[scheme]
        table.add_row(
            info.name,
            "all" if info.operations == ALL else _operations(scheme),
            _sizes(scheme),
            str(info.message_bits or MOST_RESULT_BITS),
            info.rests_on or output.text(("nothing", "bold red")),
        )
    return table


def _notes() -> None:
    from blindsight.additive.schemes import NOT_ENCRYPTION, SCHEMES, AdditiveScheme
    from blindsight.parameters import ADDITIVE_SETS

    name = SCHEMES[AdditiveScheme.SCRAMBLE].name
    output.show(output.text((f"{name}: ", "bold red"), (NOT_ENCRYPTION, "red")))
    output.answer("all: sums, differences, weighted sums, re-randomisation")
    for parameters in ADDITIVE_SETS.values():
        scheme = parameters.scheme.name.lower()
        output.answer(f"{scheme}: also for collections, whose search shows the query to the server")
    output.answer("room: bits for a value and the weights together")
    output.answer(f"{_EXTRA}-*: keyholder and evaluator need LightPHE:")
    output.answer(f"    pip install 'blindsight-vault-library[{_EXTRA}]'")


def _operations(scheme: AdditiveScheme) -> str:
    from blindsight.additive.schemes import SCHEMES, Operation

    return ", ".join(one.value for one in Operation if one in SCHEMES[scheme].operations)


def _sizes(scheme: AdditiveScheme) -> str:
    from blindsight.additive.schemes import LEAST_MODULUS_BITS, MOST_MODULUS_BITS, SCHEMES

    info = SCHEMES[scheme]
    if info.fixed_bits:
        return str(info.fixed_bits)
    if info.key_sizes:
        return " or ".join(map(str, info.key_sizes))
    span = f"{LEAST_MODULUS_BITS}-{MOST_MODULUS_BITS}"
    return f"{info.default_bits} or {span}" if info.default_bits else span


def _set_document(parameters: ParameterSet) -> dict[str, object]:
    from blindsight.parameters import DEFAULT_PARAMETERS

    return {
        "name": parameters.scheme.name.lower(),
        "kind": "ring",
        "for": ["search", "verify"],
        "query_visible_to_server": parameters.query_visible,
        "parameter_set": parameters.name,
        "default": parameters is DEFAULT_PARAMETERS[parameters.scheme],
        "security": parameters.security,
        "security_bits": parameters.security_bits,
        "quantum_bits": parameters.quantum_bits,
        "quantum_safe": bool(parameters.quantum_bits),
        "precision": parameters.precision,
        "warning": "",
    }


def _additive_document(scheme: AdditiveScheme) -> dict[str, object]:
    from blindsight.additive.schemes import LEAST_MODULUS_BITS, MOST_MODULUS_BITS, SCHEMES, warning
    from blindsight.parameters import ADDITIVE_SETS

    info = SCHEMES[scheme]
    fixed = info.fixed_bits
    sets = [one for one in ADDITIVE_SETS.values() if one.wire_scheme == scheme]
    return {
        "name": info.name,
        "kind": "additive",
        "for": ["combine", *(["search"] if sets else [])],
        "query_visible_to_server": bool(sets),
        "parameter_set": sets[0].name if sets else None,
        "operations": _operations(scheme).split(", "),
        "default_key_bits": fixed or info.default_bits or None,
        "least_key_bits": fixed or LEAST_MODULUS_BITS,
        "most_key_bits": fixed or max(info.key_sizes, default=MOST_MODULUS_BITS),
        "message_bits": info.message_bits or None,
        "description": info.description,
        "extra": _EXTRA if info.algorithm else None,
        "quantum_safe": False,
        "warning": warning(scheme, fixed or LEAST_MODULUS_BITS),
    }
