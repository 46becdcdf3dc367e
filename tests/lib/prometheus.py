# SPDX-License-Identifier: Apache-2.0
"""prometheus - fetches a page of metrics and reads it strictly (text format 0.0.4), refusing what a Prometheus server or promtool would."""
import re
import socket
import time

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*\}'
SAMPLE = re.compile(r"(%s)(%s)? (\S+)" % (NAME, LABELS))


def connect(where):
    if where.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(120)
        s.connect(where[5:])
        return s
    host, port = where.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 120)


def answer(s):
    """Status line, header fields and body of what comes until the end."""
    data = b""
    while True:
        more = s.recv(65536)
        if not more:
            break
        data += more
    s.close()
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    fields = dict((k.lower(), v.strip()) for k, v in (line.split(":", 1) for line in lines[1:]))
    assert int(fields["content-length"]) == len(body) or not body, "the length is another: %r" % fields
    return lines[0], fields, body.decode()


def get(where, path="/metrics", method="GET"):
    s = connect(where)
    s.sendall(("%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path)).encode())
    return answer(s)


def parse(text):
    """{'name{labels}': value}; every family has HELP, TYPE and then its samples, once."""
    assert text.endswith("\n"), "the last line does not end"
    values, seen, family, kind = {}, set(), None, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family, words = line[7:].split(" ", 1)
            assert re.fullmatch(NAME, family) and words and family not in seen, line
            seen.add(family)
            kind = None
            continue
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram"), line
            assert (kind == "counter") == family.endswith("_total"), line
            continue
        m = SAMPLE.fullmatch(line)
        assert m and kind, "no sample: %r" % line
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        assert m[1] in [family + s for s in suffixes], line
        key = m[1] + (m[2] or "")
        assert key not in values, "twice: " + key
        values[key] = float(m[3])
        assert kind != "counter" or values[key] >= 0
    for name in seen:
        buckets = [(float(k.split('"')[1]), v) for k, v in values.items() if k.startswith(name + "_bucket{")]
        if buckets:
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), buckets
            assert buckets[-1] == (float("inf"), values[name + "_count"]), buckets
    return values


def metrics(where):
    status, fields, body = get(where)
    assert status == "HTTP/1.1 200 OK", status
    assert fields["content-type"].startswith("text/plain; version=0.0.4"), fields
    return parse(body)


def await_metric(where, name, value):
    end = time.monotonic() + 60
    while metrics(where)[name] != value:
        assert time.monotonic() < end, (name, value, metrics(where)[name])
        time.sleep(0.02)
