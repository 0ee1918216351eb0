"""Verifies a ledger that `edgeward audit export` wrote, with the standard library of Python 3.9 or later only.

    python3 verify_export.py FOLDER [ORIGIN]

ORIGIN is the log's name, `edgeward-ledger/` and 12 hex digits, as you know it from elsewhere: from a device, or from an
earlier export. Without it, the export is only shown to agree with the keys that it brings itself. The exit code is 0 if every
entry, seal, checkpoint and record of a prediction holds, and 1 with the first bad entry or batch named if not. A record that
was forgotten is there as the digest of its leaf. The formats are in docs/formats/ledger.md.
"""
import hashlib
import json
import pathlib
import sys
from base64 import b64decode

# Ed25519 (RFC 8032, section 5.1): points are (X, Y, Z, T) with x = X/Z, y = Y/Z, x*y = T/Z.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, point):
    result = (0, 1, 1, 0)
    while n:
        result = add(result, point) if n & 1 else result
        point, n = add(point, point), n >> 1
    return result


def point_of(data):
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        raise ValueError("no point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signed(key, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if len(key) != 32 or len(signature) != 64 or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L
    try:
        left, right = times(s, BASE), add(point_of(r), times(k, point_of(key)))
    except ValueError:
        return False
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def read(name):
    return pathlib.Path(sys.argv[1], name).read_bytes()


def fail(why):
    sys.exit("not verified: " + why)


def checkpoint(note, origin, keys):
    """Size and root of a signed checkpoint."""
    text, _, signatures = note.partition("\n\n")
    lines = [line.split(" ") for line in signatures.splitlines()]
    hashes = {sha256(origin.encode(), b"\n\x01", key)[:4]: key for key in keys}
    blobs = [b64decode(line[2]) for line in lines if line[:2] == ["\u2014", origin]]
    if not any(b[:4] in hashes and signed(hashes[b[:4]], (text + "\n").encode(), b[4:]) for b in blobs):
        fail("a checkpoint is not signed by the ledger's key")
    name, size, root = text.split("\n")[:3]
    if name != origin:
        fail("a checkpoint is of another log: " + name)
    return int(size), b64decode(root)


def push(peaks, node, size):
    """Adds leaf number `size` to a tree; its root."""
    while size % 2 == 0:
        node, size = sha256(b"\1", peaks.pop(), node), size // 2
    peaks.append(node)
    top = node
    for peak in reversed(peaks[:-1]):
        top = sha256(b"\1", peak, top)
    return top


def check_records(entries):
    """Every batch of records has the root that its entry has; how many records there are."""
    records, done = read("records.jsonl").split(b"\n")[:-1], 0
    for event in (json.loads(entry)["event"] for entry in entries):
        if event["type"] == "records_kept":
            peaks, top, batch = [], sha256(), records[done:done + event["records"]]
            for size, record in enumerate(batch, 1):
                forgotten = record.startswith(b'"sha256:')
                top = push(peaks, bytes.fromhex(record[8:-1].decode()) if forgotten else sha256(b"\0", record), size)
            if len(batch) != event["records"] or event["root"] != "sha256:" + top.hex():
                fail(f"the records of batch {event['batch']} are not those that were kept")
            done += len(batch)
    if done != len(records):
        fail(f"{len(records) - done} records are in no batch")
    return done


def main():
    origin = "edgeward-ledger/" + sha256(read("ledger-keys.json")).hex()[:12]
    if len(sys.argv) > 2 and sys.argv[2] != origin:
        fail("this is the log " + origin)
    keys = [b64decode(key["public"]) for key in json.loads(read("ledger-keys.json"))["keys"]]
    seen = [checkpoint(one["note"], origin, keys) + (one["by"],) for one in json.loads(read("checkpoints.json"))]
    entries, seals = read("entries.jsonl").splitlines(), read("seals.txt").split()
    covered = max([size for size, _, _ in seen], default=0)

    def sealed(seq):
        message = f"edgeward.seal/1\n{origin}\n{seq}\nsha256:{sha256(entries[seq]).hex()}\n".encode()
        return seq < len(seals) and any(signed(key, message, b64decode(seals[seq])) for key in keys)

    def first_bad(last):
        return next((seq for seq in range(last) if not sealed(seq)), last)

    previous, peaks = bytes(32), []
    for seq, entry in enumerate(entries):
        try:
            value = json.loads(entry)
        except ValueError:
            fail(f"entry {seq} is damaged")
        # Checkpoints vouch for what they cover: a seal is looked at where none does, or to name the first bad entry.
        if (value["seq"], value["prev"]) != (seq, "sha256:" + previous.hex()) or seq >= covered and not sealed(seq):
            fail(f"entry {first_bad(seq)} is not what was written")
        previous, top = sha256(entry), push(peaks, sha256(b"\0", entry), seq + 1)
        for by in [by for size, expected, by in seen if size == seq + 1 and expected != top]:
            fail(f"entry {first_bad(seq)} is not what was written: {by} saw another history")
    if covered > len(entries):
        fail(f"entry {len(entries)} is missing: a checkpoint covers {covered}")
    print(f"verified: {len(entries)} entries of {origin}, {len(seen)} checkpoints agree, "
          f"{check_records(entries)} records of predictions")


main()
