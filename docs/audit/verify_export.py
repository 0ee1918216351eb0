"""Verifies a ledger that `edgeward audit export` wrote, with the standard library of Python 3.9 or later only.

    python3 verify_export.py FOLDER [ORIGIN]

ORIGIN is the log's name, `edgeward-ledger/` and 12 hex digits, as you know it from elsewhere: from a device, or from an
earlier export. Without it, the export is only shown to agree with the keys that it brings itself. The exit code is 0 if every
entry, seal, checkpoint and record of a prediction holds, and 1 with the first bad entry or batch named if not. The formats are in docs/formats/ledger.md.
"""
import base64
import hashlib
import json
import os
import sys

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
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def point_of(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
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
    try:
        a, r, s = point_of(key), point_of(signature[:32]), int.from_bytes(signature[32:], "little")
    except ValueError:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(k, a))
    same = all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))
    return len(signature) == 64 and s < L and same


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def fail(why):
    sys.exit("not verified: " + why)


def read(name):
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        return file.read()


def checkpoint(note, origin, keys):
    """Size and root of a signed checkpoint."""
    text, _, signatures = note.partition("\n\n")
    lines = [line.split(" ") for line in signatures.splitlines()]
    hashes = {sha256(origin.encode(), b"\n\x01", key)[:4]: key for key in keys}
    blobs = [base64.b64decode(line[2]) for line in lines if line[:2] == ["\u2014", origin]]
    if not any(b[:4] in hashes and signed(hashes[b[:4]], (text + "\n").encode(), b[4:]) for b in blobs):
        fail("a checkpoint is not signed by the ledger's key")
    name, size, root = text.split("\n")[:3]
    if name != origin:
        fail("a checkpoint is of another log: " + name)
    return int(size), base64.b64decode(root)


def push(peaks, node, size):
    """Adds leaf number `size` to a tree; its root."""
    while size % 2 == 0:
        node, size = sha256(b"\1", peaks.pop(), node), size // 2
    peaks.append(node)
    top = peaks[-1]
    for peak in reversed(peaks[:-1]):
        top = sha256(b"\1", peak, top)
    return top


def check_records(entries):
    """Every batch of records has the root that its entry has; how many records there are."""
    records, done = read("records.jsonl").split(b"\n")[:-1], 0
    for event in (json.loads(entry)["event"] for entry in entries):
        if event["type"] == "records_kept":
            peaks, top = [], sha256()
            for size, record in enumerate(records[done:done + event["records"]], 1):
                top = push(peaks, sha256(b"\0", record), size)
            done += event["records"]
            if done > len(records) or event["root"] != "sha256:" + top.hex():
                fail("the records of batch %d are not those that were kept" % event["batch"])
    if done != len(records):
        fail("%d records are in no batch" % (len(records) - done))
    return done


def main():
    origin = "edgeward-ledger/" + sha256(read("ledger-keys.json")).hex()[:12]
    if len(sys.argv) > 2 and sys.argv[2] != origin:
        fail("this is the log " + origin)
    keys = [base64.b64decode(key["public"]) for key in json.loads(read("ledger-keys.json"))["keys"]]
    seen = [checkpoint(one["note"], origin, keys) + (one["by"],) for one in json.loads(read("checkpoints.json"))]
    entries, seals = read("entries.jsonl").splitlines(), read("seals.txt").split()
    covered = max([size for size, _, _ in seen], default=0)

    def sealed(seq):
        message = "edgeward.seal/1\n%s\n%d\nsha256:%s\n" % (origin, seq, sha256(entries[seq]).hex())
        return seq < len(seals) and any(signed(key, message.encode(), base64.b64decode(seals[seq])) for key in keys)

    previous, peaks = bytes(32), []
    for seq, entry in enumerate(entries):
        try:
            value = json.loads(entry)
        except ValueError:
            fail("entry %d is damaged" % seq)
        # Checkpoints vouch for what they cover: a seal is looked at where none does, or to name the first bad entry.
        if (value["seq"], value["prev"]) != (seq, "sha256:" + previous.hex()) or seq >= covered and not sealed(seq):
            fail("entry %d is not what was written" % next((n for n in range(seq) if not sealed(n)), seq))
        previous, top = sha256(entry), push(peaks, sha256(b"\0", entry), seq + 1)
        for by in [by for size, expected, by in seen if size == seq + 1 and expected != top]:
            bad = next((n for n in range(seq + 1) if not sealed(n)), seq)
            fail("entry %d is not what was written: %s saw another history" % (bad, by))
    if covered > len(entries):
        fail("entry %d is missing: a checkpoint covers %d" % (len(entries), covered))
    said = (len(entries), origin, len(seen), check_records(entries))
    print("verified: %d entries of %s, %d checkpoints agree, %d records of predictions" % said)


main()
