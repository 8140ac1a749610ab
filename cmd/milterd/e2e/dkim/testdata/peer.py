# Signs and verifies messages with python3-dkim. Reads one JSON object from standard input and writes one to standard output:
#
#   {"key": PEM, "record": TXT, "sign": [{"message": BASE64, "header": "relaxed", "body": "simple"}, ...], "verify": [BASE64, ...]}
#   {"signed": [BASE64, ...], "verified": [true, ...]}
import base64
import json
import sys

import dkim

task = json.load(sys.stdin)
record = task["record"].encode()


def sign(s):
    message = base64.b64decode(s["message"])
    field = dkim.sign(message, b"rsa", b"example.net", task["key"].encode(),
                      canonicalize=(s["header"].encode(), s["body"].encode()))
    return base64.b64encode(field + message).decode()


def verify(message):
    try:
        return bool(dkim.verify(base64.b64decode(message), dnsfunc=lambda name, timeout=5: record))
    except dkim.DKIMException:
        return False


json.dump({
    "signed": [sign(s) for s in task["sign"] or []],
    "verified": [verify(m) for m in task["verify"] or []],
}, sys.stdout)
