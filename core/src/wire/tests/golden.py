"""Makes golden.txt from the table in wire/mod.rs alone, sharing nothing with the Rust code.

    python3 golden.py > golden.txt
"""

from struct import pack, unpack


def crc32c(data, so_far=0):
    register = so_far ^ 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def siphash128(key, message):
    """SipHash-2-4 with 128 bits, from the paper's reference description."""
    mask = (1 << 64) - 1
    k0, k1 = unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE,
         k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & mask

    def half(a, b, bits, turn):
        v[a] = (v[a] + v[b]) & mask
        v[b] = rotate(v[b], bits) ^ v[a]
        if turn:
            v[a] = rotate(v[a], 32)

    def rounds(count):
        for _ in range(count):
            half(0, 1, 13, True)
            half(2, 3, 16, False)
            half(0, 3, 21, False)
            half(2, 1, 17, True)

    whole = len(message) // 8 * 8
    last = message[whole:].ljust(7, b"\0") + bytes([len(message) & 255])
    for (word,) in (unpack("<Q", (message[:whole] + last)[at:at + 8])
                    for at in range(0, whole + 8, 8)):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return pack("<QQ", low, v[0] ^ v[1] ^ v[2] ^ v[3])


assert crc32c(b"123456789") == 0xE3069283
assert siphash128(bytes(range(16)), b"").hex() == "a3817f04ba25a8e66df67214c7550293"
assert siphash128(bytes(range(16)), b"\0").hex() == "da87c1d86b99af44347659119b22fc45"

DIALER, ACCEPTOR, PROOF = (bytes(range(first, first + 16)) for first in (0x30, 0x40, 0x50))
CLUSTER = 0x000102030405060708090A0B0C0D0E0F.to_bytes(16, "little")
SECRET = bytes(range(0x60, 0x81))
KEY = b"key"
RECORD = bytes(range(0x80, 0x8C))
OPERATION = bytes(range(0xC0, 0xC8))
CONTACT = bytes(range(0xD0, 0xD5))
ORDER = pack("<Q", 0x0102030405060708)


def body(key, payload):
    rest = pack("<HH", len(key), 0) + key + payload
    return pack("<I", crc32c(rest)) + rest


def frame(op, key, payload):
    behind = body(key, payload)
    return pack("<BBBBIIHHQQ", 0xA7, 0x52, 1 if op <= 5 else 2, op, len(behind), 0x01020304, 1000, 7,
                0x1112131415161718, 0x2122232425262728) + behind


def record(kind, segment, mine, flags, offset, behind, target=0):
    first = pack("<BBBBIIHHQ", 0xA7, 0x4C, 1, kind, len(behind), segment, mine, flags, offset)
    covered = first + behind[:4] + (pack("<I", target) if target else b"")
    return first + pack("<II", crc32c(covered), target) + behind


def hello(versions, kind, shard, source, shards, node, boot, cluster):
    return (pack("<BBBBHHHHIQ", *versions, kind, 0, shard, source, shards, 0, node, boot)
            + DIALER + cluster)


def hello_reply(ring, shards, node, boot, seed, cluster, proof, secret=b""):
    return (pack("<BBBBBBHIHHQQ", 1, 1 if secret else 0, *ring, shards, node, len(secret), 0,
                 boot, seed) + cluster + ACCEPTOR + proof + secret)


def put(counts, flags, condition, timestamp, expires, context, value):
    return (pack("<BBBBHBBQQII", *counts, flags, condition, 0, timestamp, expires, len(context),
                 len(value)) + context + value)


def reply(status, needed, got, live, found, order, context, siblings):
    out = pack("<BBBBHHIHH", status, needed, got, 0, live, found, len(context), len(siblings), 0)
    out += order + context
    for timestamp, expires, value in siblings:
        out += pack("<QQII", timestamp, expires, len(value), 0) + value
    return out


def update(node, incarnation, boot, accuser, status):
    return pack("<IIQIB3x", node, incarnation, boot, accuser, status)


def page(partition, first, last, keys, entries):
    out = pack("<HHIQQQ", partition, len(entries), 0, first, last, keys)
    for order, key, of_key in entries:
        out += pack("<QHHI", order, len(key), 0, len(of_key)) + key + of_key
    return out


NONE = 65535


def routes(partition_bits, row, nodes, rows):
    out = pack("<BBHI", partition_bits, row, len(nodes), 0)
    for node, port, shards, last in nodes:
        out += pack("<IHH", node, port, shards) + bytes(10) + b"\xff\xff\x7f\0\0" + bytes([last])
    return out + pack(f"<{len(rows)}H", *rows)


UPDATES = (update(0xAABBCCDD, 3, 0x1234567890, 0x11223344, 2) + update(7, 0, 1, 0, 1)
           + update(8, 0xFFFFFFFF, (1 << 40) - 1, 0, 3))
SEED = 0x99AABBCCDDEEFF00
FRAMES = [
    ("hello_peer", 1, b"", hello((1, 2), 1, 1, 3, 4, 0xAABBCCDD, 0x1234567890, CLUSTER)),
    ("hello_client", 1, b"", hello((1, 1), 2, 0, 0, 0, 0, 0, bytes(16))),
    ("hello_joiner", 1, b"", hello((1, 1), 3, 0, 0, 1, 5, 1, bytes(16))),
    ("hello_reply", 2, b"",
     hello_reply((10, 3, 2, 2), 4, 0x11223344, (1 << 40) - 1, SEED, CLUSTER, PROOF)),
    ("hello_reply_secret", 2, b"",
     hello_reply((10, 3, 2, 2), 4, 0x11223344, 9, SEED, CLUSTER, PROOF, SECRET)),
    ("hello_reply_alone", 2, b"", hello_reply((0, 0, 0, 0), 1, 7, 1, 0, bytes(16), bytes(16))),
    ("proof", 3, b"", PROOF),
    ("welcome", 4, b"", b""),
    ("refused", 5, b"", pack("<BBB5x", 3, 1, 1)),
    ("refused_version", 5, b"", pack("<BBB5x", 1, 2, 3)),
    ("get", 16, KEY, pack("<BBBBI", 2, 1, 1 + 2, 0, 3) + b"ctx"),
    ("put_given", 17, KEY, put((2, 1, 1, 0), 1 + 256, 0, 1700000000000, 0, b"ctx", b"value")),
    ("put_local", 17, KEY, put((0, 0, 0, 0), 4 + 8, 0, 0, 1800000000000, b"", b"value")),
    ("put_read_first", 17, KEY, put((2, 0, 0, 2), 2 + 16 + 128, 2, 0, 0, b"", b"")),
    ("put_value_only", 17, KEY, put((0, 0, 0, 0), 16 + 32, 1, 0, 0, b"", b"value")),
    ("put_expiry_only", 17, KEY, put((0, 0, 0, 0), 4 + 16 + 64, 6, 0, 1800000000000, b"", b"")),
    ("reply", 18, b"", reply(0, 2, 3, 2, 1, ORDER, b"token", [(9, 0, b"new"), (8, 77, b"")])),
    ("reply_no_quorum", 18, b"", reply(1, 2, 1, 0, 0, bytes(8), b"", [])),
    ("routes", 19, b"", pack("<Q", 0x1112131415161718)),
    ("routes_same", 20, b"", bytes(8)),
    ("routes_reply", 20, b"", routes(6, 2, [(7, 7400, 4, 1), (9, 7401, 1, 2)],
                                     [1, 0] + 62 * [0, NONE] + [NONE, NONE])),
    ("replicate", 32, KEY, RECORD),
    ("replicate_sync", 33, KEY, RECORD),
    ("ack", 34, b"", ORDER + pack("<B7x", 1)),
    ("read", 35, KEY, pack("<QII", 0, 0, 0)),
    ("read_hint", 35, KEY, pack("<QII", 0x1112131415161718, 0x21222324, 0)),
    ("hint", 39, KEY, pack("<II", 0x21222324, 0) + RECORD),
    ("hint_sync", 40, KEY, pack("<II", 0x21222324, 0) + RECORD),
    ("beat", 41, b"", b""),
    ("read_reply", 36, KEY, RECORD),
    ("read_reply_none", 36, KEY, b""),
    ("reject", 37, b"", pack("<B7x", 1) + ORDER),
    ("read_same", 38, b"", ORDER + pack("<Q", 0x1112131415161718)),
    ("topology", 48, b"", pack("<HHHH", 2, 4, 1, 5) + OPERATION + CONTACT),
    ("warm", 49, b"", b""),
    ("staged", 50, b"", pack("<QHHI", 0x1112131415161718, 2, 4, 0) + OPERATION),
    ("candidate", 51, b"", OPERATION),
    ("epochs", 55, b"", pack("<B7x", 3) + pack("<IQIQ", 7, 1, 9, (1 << 64) - 1)),
    ("epochs_none", 55, b"", bytes(8)),
    ("scan", 52, b"", pack("<HHIQ", 258, 10, 0, 0x1112131415161718)),
    ("page", 53, b"", pack("<HHIQ", 258, 0, 0, 0)),
    ("page_reply", 54, b"", page(258, 5, 9, 0, [(5, b"a", RECORD), (5, b"b", b"r"),
                                                (9, KEY, RECORD)])),
    ("page_reply_count", 54, b"", page(258, 0, 2**64 - 1, 1000, [])),
    ("status", 64, b"", b""),
    ("ring", 65, b"", b""),
    ("ring_of_key", 65, KEY, b""),
    ("admin_reply", 66, b"", b"\0" + '{"name":"ä"}'.encode()),
    ("scrub", 67, b"", b"\0" * 8),
    ("scrub_accept_loss", 67, b"", b"\1" + b"\0" * 7),
    ("scrub_status", 68, b"", b""),
    ("hints", 69, b"", b""),
    ("exchanges", 70, b"", b""),
    ("repair", 71, b"", b"\0" * 8),
    ("repair_partition", 71, b"", b"\1\0\2\1" + b"\0" * 4),
    ("repair_status", 72, b"", b""),
    ("stage_join", 73, b"", pack("<BBHHH", 1, 0, 0, 0, 0)),
    ("stage_forget", 73, b"", pack("<BBHHH", 4, 1, 0, 3, 0) + b"oak"),
    ("stage_weight", 73, b"", pack("<BBHHH", 5, 0, 258, 3, 0) + b"oak"),
    ("stage_zone", 73, b"", pack("<BBHHH", 6, 0, 0, 3, 4) + b"oakeast"),
    ("plan", 74, b"", b""),
    ("commit", 75, b"", pack("<QB7x", 0x1112131415161718, 0)),
    ("commit_accept_loss", 75, b"", pack("<QB7x", 0x1112131415161718, 1)),
    ("clear", 76, b"", b""),
    ("transfers", 77, b"", b""),
    ("reap", 78, b"", b""),
    ("reap_status", 79, b"", b""),
    ("ping", 80, b"", pack("<II", 0x01020304, 0xAABBCCDD) + UPDATES),
    ("ping_request", 81, b"", pack("<II", 5, 6)),
    ("pong", 82, b"", pack("<II", 5, 7) + UPDATES[24:48]),
    ("relaying", 83, b"", pack("<II", 5, 8)),
    ("sync", 84, b"", ORDER),
    ("sync_table", 85, b"", b"\0" * 8 + UPDATES),
    ("sync_table_request", 85, b"", b"\1" + b"\0" * 7 + UPDATES),
    ("exchange_open", 96, b"", pack("<H6xQQ", 0x3132, 0x4142434445464748, 1000)),
    ("exchange_same", 97, b"", b""),
    ("exchange_nodes", 98, b"", pack("<B7xQQQQ", 2, 1 << 63, 1, 0, 1 << 63)),
    ("exchange_hashes", 99, b"", pack("<B7xQ", 2, 77) + pack("<16Q", *range(16))),
    ("exchange_list", 100, b"", pack("<QQ", 5, 9) + pack("<QQQQ", 4, 6, 8, 2**64 - 1)),
    ("exchange_listed", 101, b"", pack("<B7x", 0) + pack("<QQQQQQ", 5, 10, 5, 10, 6, 1)),
    ("exchange_listed_none", 101, b"", pack("<B7x", 1)),
    ("exchange_record", 102, KEY, RECORD),
    ("exchange_fetch", 103, b"", pack("<II", 1 << 18, 0) + pack("<QQ", 7, 3)),
    ("exchange_fetched", 104, b"", pack("<II", 2, 1)),
    ("exchange_stream", 105, b"", pack("<QII", 7, 1 << 18, 0)),
    ("exchange_streamed", 106, b"", pack("<QB7x", 9, 1)),
    ("exchange_streamed_all", 106, b"", pack("<QB7x", 0, 0)),
    ("exchange_end", 107, b"", pack("<B3xIQQ", 1, 3, 40, 50)),
    ("survey", 112, b"", pack("<QHBB4x", 0, 0x3132, 1, 0) + pack("<QQQQ", 5, 10, 6, 1)),
    ("survey_spent", 112, b"", pack("<QHBB4x", 7, 0x3132, 3, 1) + pack("<QQQQ", 5, 1, 5, 2)),
    ("surveyed", 113, b"", pack("<QQIIQQ", 3, 1 << 63, 60000, 0, 0x1112131415161718, 7)),
    ("erase", 114, b"", pack("<QHB5x", 0, 0x3132, 1) + pack("<QQQQ", 5, 10, 6, 1)),
    ("erase_spent", 114, b"", pack("<QHB5x", 7, 0x3132, 3) + pack("<QQQQ", 5, 1, 5, 2)),
]


def derive(label):
    rest = SECRET[16:]
    return siphash128(SECRET[:16], label + rest + pack("<Q", len(rest)))


def proof(prover):
    return siphash128(derive(b"peer"), b"ringmain proof 1" + bytes([prover]) + CLUSTER
                      + pack("<II", 0xAABBCCDD, 0x11223344) + DIALER + ACCEPTOR)


def emit(name, data):
    print(name)
    for at in range(0, len(data), 32):
        print("  " + data[at:at + 32].hex())


for name, op, key, payload in FRAMES:
    emit(name, frame(op, key, payload))
emit("place_record", record(1, 0x01020304, 6, 0x0708, 0x1112131415, body(KEY, RECORD)))
emit("place_hint",
     record(3, 0x01020304, 6, 0x0708, 0x1112131415, body(KEY, RECORD), 0x01020304))
emit("place_batch", record(2, 0, 0, 0, 64, body(b"", b"batch")))
emit("key_context", derive(b"ctx"))
emit("key_peer", derive(b"peer"))
emit("proof_dialer", proof(1))
emit("proof_acceptor", proof(2))
