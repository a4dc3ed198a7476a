"""Examples for the help of every command: command lines that work as they stand."""

from __future__ import annotations

from collections.abc import Sequence

# By the words of the command; of `blindsight` alone the first steps.
EXAMPLES: dict[str, Sequence[str]] = {
    "": (
        "blindsight up --data vault --detach",
        "blindsight collection create holiday",
        "blindsight ingest holiday ~/Pictures",
        "blindsight search holiday query.jpg",
    ),
    "up": (
        "blindsight up --data vault",
        "blindsight up --data vault --detach",
        "blindsight up --data vault --workers 2 --passphrase-file secret",
    ),
    "down": ("blindsight down --data vault",),
    "status": ("blindsight status", "blindsight status --acknowledge"),
    "check": ("blindsight check", "blindsight check holiday --repair"),
    "backup": (
        "blindsight backup /mnt/monday --data vault",
        "blindsight backup /mnt/monday --verify",
    ),
    "restore": (
        "blindsight restore /mnt/monday --data vault-2",
        "blindsight restore /mnt/trusted /mnt/untrusted --data vault-2",
    ),
    "keys create": ("blindsight keys create -o keys.bsky --passphrase-file secret",),
    "keys rotate": ("blindsight keys rotate", "blindsight keys rotate --status"),
    "keys rewrap": (
        "blindsight keys rewrap --data vault --new-passphrase-file secret",
        "blindsight keys rewrap --key-file keys.bsky",
    ),
    "keys export": ("blindsight keys export -o copy.bsky --data vault",),
    "keys import": (
        "blindsight keys import copy.bsky --data vault-2",
        "blindsight keys import copy.bsky --key-file keys.bsky",
    ),
    "keys destroy": (
        "blindsight keys destroy --data vault",
        "blindsight keys destroy --key-file keys.bsky",
    ),
    "certificates init": ("blindsight certificates init --authority authority",),
    "certificates issue": (
        "blindsight certificates issue storage of-storage --authority authority",
        "blindsight certificates issue keyholder kh --host a.lan --authority ca",
    ),
    "certificates list": ("blindsight certificates list --authority authority",),
    "certificates renew": ("blindsight certificates renew of-storage --authority authority",),
    "certificates revoke": ("blindsight certificates revoke of-storage --authority authority",),
    "login": (
        "blindsight login --address 192.168.1.9:7421 --tls ~/certificate",
        "blindsight login --profile office --address photos.lan:7421 --tls of-office",
    ),
    "logout": ("blindsight logout", "blindsight logout --profile office"),
    "profiles list": ("blindsight profiles list",),
    "tokens create": (
        "blindsight tokens create --role uploader --label phone",
        "blindsight tokens create --role searcher --queries-per-day 500",
        "blindsight tokens create --role searcher --expires 30d -o tablet.token",
    ),
    "audit show": (
        "blindsight audit show --since 1d",
        "blindsight audit show --token 0123456789ab --collection holiday --json",
    ),
    "audit verify": (
        "blindsight audit verify",
        "blindsight audit verify --folder backup/keyholder --passphrase-file FILE",
    ),
    "tokens list": ("blindsight tokens list",),
    "tokens revoke": ("blindsight tokens revoke 0123456789ab",),
    "tenants create": (
        "blindsight tenants create acme -o acme.token",
        "blindsight tenants create acme --items 100000 --heavy-jobs 2 --json",
    ),
    "tenants list": ("blindsight tenants list",),
    "tenants set": ("blindsight tenants set acme --items 200000 --bytes none",),
    "tenants delete": ("blindsight tenants delete acme",),
    "collection create": (
        "blindsight collection create holiday",
        "blindsight collection create faces --embedder none --dimension 128",
        "blindsight collection create portraits --embedder external --dimension 512",
        "blindsight collection create copies --embedder pixels --scheme bfv",
    ),
    "collection list": ("blindsight collection list", "blindsight collection list --json"),
    "collection describe": ("blindsight collection describe holiday",),
    "collection delete": ("blindsight collection delete holiday --yes",),
    "collection rename": ("blindsight collection rename holiday rome-2026",),
    "collection alias": ("blindsight collection alias photos-v2 photos",),
    "collection unalias": ("blindsight collection unalias photos",),
    "collection truncate": ("blindsight collection truncate holiday --yes",),
    "collection accept-rollback": ("blindsight collection accept-rollback holiday",),
    "ingest": (
        "blindsight ingest holiday ~/Pictures '~/old/**/*.jpg'",
        "blindsight ingest holiday rome.jpg --id rome-1 --set year=2024",
        "blindsight ingest holiday ~/Pictures --sidecar --exif",
        "blindsight ingest faces --vectors faces.npy --ids names.txt",
        "blindsight ingest portraits a.jpg b.jpg --vectors ab.npy",
        "blindsight ingest people ~/Pictures --vectors faces.jsonl",
        "blindsight ingest holiday ~/Pictures --bulk --detach",
    ),
    "search": (
        "blindsight search holiday query.jpg -k 10 --save hits",
        "blindsight search holiday query.jpg --where 'year >= 2020'",
        "blindsight search holiday --like rome-1",
        "blindsight search album query.jpg --report what-was-found",
    ),
    "verify": (
        "blindsight verify a.jpg b.jpg",
        "blindsight verify --collection faces --id 17 probe.npy --threshold 0.3",
    ),
    "combine": (
        "blindsight combine before.png after.png --weights -1,1 -o change.npy",
        "blindsight combine a.png b.png --weights 1,-1 --pixels offset -o c.png",
    ),
    "filter": (
        "blindsight filter photo.png --op gaussian:5 --op sobel -o edges.png",
        "blindsight filter --collection copies --id rome-1 --op sharpen -o out.png",
    ),
    "diff": (
        "blindsight diff before.png after.png -o change.png",
        "blindsight diff a.png b.png --mode threshold -o d.png --report seen",
    ),
    "keypoints": (
        "blindsight keypoints photo.jpg -o keypoints.png",
        "blindsight keypoints photo.jpg -o k.png --descriptors k.npy",
    ),
    "match": (
        "blindsight match one.jpg other.jpg -o both.png",
        "blindsight match one.jpg other.jpg --ratio 0.7 -o both.png",
    ),
    "get": (
        "blindsight get holiday rome-1",
        "blindsight get holiday rome-1 -o - > rome.jpg",
        "blindsight get copies rome-1 --planes -o rome.png",
    ),
    "delete": (
        "blindsight delete holiday rome-1 rome-2",
        "blindsight delete holiday --where 'year < 2000' --yes",
    ),
    "repack": ("blindsight repack holiday",),
    "schemes": ("blindsight schemes", "blindsight schemes --json"),
    "compare-schemes": ("blindsight compare-schemes ~/Pictures --images 100 --report which",),
    "schema": ("blindsight schema", "blindsight schema collection list"),
    "completion": (
        "blindsight completion bash > blindsight.bash",
        "blindsight completion fish > ~/.config/fish/completions/blindsight.fish",
    ),
    "jobs list": ("blindsight jobs list",),
    "jobs show": ("blindsight jobs show 5d0c8a1b",),
    "jobs watch": ("blindsight jobs watch 5d0c8a1b",),
    "jobs cancel": ("blindsight jobs cancel 5d0c8a1b", "blindsight jobs cancel 5d0c8a1b --yes"),
    "jobs retry": ("blindsight jobs retry 5d0c8a1b",),
    "jobs drop": ("blindsight jobs drop 5d0c8a1b --yes",),
    "items list": (
        "blindsight items list holiday --where 'not has(year)'",
        "blindsight items list holiday --limit 1000 --order id --json",
    ),
    "items vector": ("blindsight items vector holiday rome-1 -o rome.npy",),
    "items show": ("blindsight items show holiday rome-1",),
    "items count": ("blindsight items count holiday --where 'place = \"Rome\"'",),
    "items set": (
        "blindsight items set holiday rome-1 --set year=2024 --set place=Rome",
        "blindsight items set holiday --where 'year = 2024' --remove draft",
    ),
}


def shown(command: str) -> str:
    """Returns what the help of a command, or of a group of commands, has at its end."""
    if command in EXAMPLES:
        return _listed(EXAMPLES[command])
    return _listed([lines[0] for name, lines in EXAMPLES.items() if name.startswith(f"{command} ")])


def _listed(lines: Sequence[str]) -> str:
    heading = "Example:" if len(lines) == 1 else "Examples:"
    # The help reads markup, of which a bracket is the begin.
    return "\n".join([heading, *(f"$ {line}" for line in lines)]).replace("[", "\\[")
