"""Writes a repository with python-tuf: every kind of key, thresholds, a rotated root, both kinds of delegations."""

import copy
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

folder = Path(sys.argv[1])
metadata, targets = folder / "metadata", folder / "targets"
metadata.mkdir(parents=True)
expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=7)


def keep(document, signers, name, compact=True):
    for index, signer in enumerate(signers):
        document.sign(signer, append=index > 0)
    data = document.to_bytes(JSONSerializer(compact=compact))
    (metadata / name).write_bytes(data)
    return data


def put(path, data, hashes):
    info = TargetFile.from_data(path, data, hashes)
    where = targets / Path(path).parent
    where.mkdir(parents=True, exist_ok=True)
    for digest in info.hashes.values():
        (where / f"{digest}.{Path(path).name}").write_bytes(data)
    return info


old, new = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()
online = {
    "timestamp": [CryptoSigner.generate_ecdsa()],
    "snapshot": [CryptoSigner.generate_rsa(), CryptoSigner.generate_ed25519()],
    "targets": [CryptoSigner.generate_ed25519()],
}

root = Metadata(Root(expires=expires, consistent_snapshot=True))
root.signed.add_key(old.public_key, "root")
for role, signers in online.items():
    for signer in signers:
        root.signed.add_key(signer.public_key, role)
    root.signed.roles[role].threshold = len(signers)
root.signed.unrecognized_fields["note"] = {"line\n\"quoted\" \\ é": [1, -2, None, True]}
keep(root, [old], "1.root.json", compact=False)

second = copy.deepcopy(root)
second.signed.version = 2
second.signed.add_key(new.public_key, "root")
second.signed.revoke_key(old.public_key.keyid, "root")
second.signatures.clear()
keep(second, [old, new], "2.root.json")

docs, bins = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()
top = Metadata(Targets(expires=expires))
top.signed.targets["plain.txt"] = put("plain.txt", b"plain", ["sha256"])
by_path = DelegatedRole("docs", [docs.public_key.keyid], 1, False, paths=["docs/*/*.md"])
by_hash = DelegatedRole("bins", [bins.public_key.keyid], 1, True, path_hash_prefixes=[f"{n:x}" for n in range(16)])
keys = {signer.public_key.keyid: signer.public_key for signer in (docs, bins)}
top.signed.delegations = Delegations(keys, {"docs": by_path, "bins": by_hash})

role_docs = Metadata(Targets(version=3, expires=expires))
role_docs.signed.targets["docs/a/read.md"] = put("docs/a/read.md", b"read me", ["sha512"])
role_bins = Metadata(Targets(version=5, expires=expires))
role_bins.signed.targets["anything"] = put("anything", b"binary \x00\xff", ["sha256", "sha512"])

snapshot = Metadata(Snapshot(version=4, expires=expires))
for name, document, signers in [("targets", top, online["targets"]), ("docs", role_docs, [docs]), ("bins", role_bins, [bins])]:
    version = document.signed.version
    data = keep(document, signers, f"{version}.{name}.json")
    snapshot.signed.meta[f"{name}.json"] = MetaFile.from_data(version, data, ["sha256", "sha512"])
data = keep(snapshot, online["snapshot"], "4.snapshot.json")
timestamp = Metadata(Timestamp(version=9, expires=expires, snapshot_meta=MetaFile.from_data(4, data, ["sha256"])))
keep(timestamp, online["timestamp"], "timestamp.json")
