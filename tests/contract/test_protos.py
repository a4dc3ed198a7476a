"""The contract says of every rpc what a caller must know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blindsight.runtime.status import REASONS

PROTOS = Path(__file__).parents[2] / "protos"
# An rpc and the lines of comment right above it.
RPC = re.compile(r"((?:^ *//.*\n)*)^ *rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\)", re.MULTILINE)
NAMES = {
    "keyholder": "CreateCollection GetCollection ListCollections DeleteCollection RenameCollection SetAlias "
    "RemoveAlias TruncateCollection Ingest IngestImage Search "
    "SearchVectors SearchImage Verify "
    "Combine GetOriginal GetPlanes ListItems CountItems GetItem GetVector "
    "UpdateItems DeleteItems Repack Check "
    "AcceptRollback AcknowledgeAlarms GetStatus",
    "imports": "CreateImport GetImport WatchImport ListImports CancelImport RetryImport DropFailed",
    "tokens": "CreateToken ListTokens RevokeToken",
    "audit": "ListRecords VerifyLog",
    "tenants": "CreateTenant ListTenants SetQuotas DeleteTenant",
    "keys": "StartRotation GetRotation",
    "workers": "ReportItems NoteTrial",
    "imaging": "Filter Diff Keypoints Match",
    "evaluator": "Score CompareAll Combine Transform Difference ScaleSpace Prepare DropCollection GetStatus",
    "storage": "CreateCollection GetCollection ListCollections ReplaceConfig DeleteCollection TakeTurn "
    "TakeLease RenewLease ReleaseLease Append ReadBatches ReadSlots GetItems ReadOriginal ReadAttachments "
    "ReadPlanes DeleteItems TruncateCollection UpdateItems GetStatus",
}


def rpcs() -> dict[str, re.Match[str]]:
    """Every rpc of every service, by service and name."""
    found = {}
    for path in sorted(PROTOS.rglob("*.proto")):
        for match in RPC.finditer(path.read_text()):
            found[f"{path.stem}.{match[2]}"] = match
    return found


def comment(rpc: re.Match[str]) -> str:
    return " ".join(line.strip().removeprefix("//").strip() for line in rpc[1].splitlines())


def test_the_services_have_these_rpcs_and_none_that_decrypts() -> None:
    assert set(rpcs()) == {f"{service}.{name}" for service, names in NAMES.items() for name in names.split()}
    assert not [
        name for name in rpcs() if re.search("decrypt|secret|key(?!point)", name.split(".")[1], re.IGNORECASE)
    ]


@pytest.mark.parametrize("name", rpcs())
def test_an_rpc_says_what_it_does_and_with_which_reasons_it_fails(name: str) -> None:
    said = comment(rpcs()[name])
    does, separator, reasons = said.partition("Reasons: ")
    assert re.match(r"[A-Z].*\.", does)
    assert separator
    named = re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", re.sub(r"\([^)]*\)", "", reasons))
    assert set(named) <= set(REASONS)
    assert len(set(named)) == len(named)
    assert named or reasons == "none."
    assert reasons.endswith(".")


@pytest.mark.parametrize("name", rpcs())
def test_an_rpc_has_a_request_and_a_response_of_its_own(name: str) -> None:
    rpc = rpcs()[name]
    assert (rpc[4], rpc[6]) == (f"{rpc[2]}Request", f"{rpc[2]}Response")


@pytest.mark.parametrize(
    ("service", "zone"),
    [
        ("keyholder", "TRUSTED"),
        ("imports", "TRUSTED"),
        ("imaging", "TRUSTED"),
        ("workers", "TRUSTED"),
        ("evaluator", "UNTRUSTED"),
        ("storage", "UNTRUSTED"),
    ],
)
def test_a_service_names_its_zone_first(service: str, zone: str) -> None:
    (path,) = PROTOS.rglob(f"{service}.proto")
    text = path.read_text()
    above = re.search(r"((?:^//.*\n)+)service ", text, re.MULTILINE)
    assert above is not None
    assert re.match(rf"// {zone}[.:]", above[1])
