"""K2V as a client that knows nothing of Hangar sees it: plain HTTP, signed by
botocore. What is expected is the specification's: forms of an answer, causality
tokens, concurrent values, deletions, the index, refusals."""
import base64
import hashlib
import http.client
import json
import os
import urllib.parse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

endpoint = urllib.parse.urlsplit(os.environ["K2V"])
bucket = "/" + os.environ["K2V_BUCKET"]
credentials = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
TOKEN = "x-garage-causality-token"


def send(method, path="", query=(), body=b"", headers=None):
    text = "&".join(k + "=" + urllib.parse.quote(v, safe="") for k, v in query)
    target = bucket + path + ("?" + text if text else "")
    all_headers = dict(headers or {})
    all_headers["X-Amz-Content-Sha256"] = hashlib.sha256(body).hexdigest()
    request = AWSRequest(method, endpoint.geturl() + target, headers=all_headers, data=body)
    SigV4Auth(credentials, "k2v", os.environ["AWS_DEFAULT_REGION"]).add_auth(request)
    connection = http.client.HTTPConnection(endpoint.netloc)
    connection.request(method, target, body, dict(request.headers))
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, data


def item(method, sort, body=b"", token=None, accept=None):
    headers = {}
    if token:
        headers[TOKEN] = token
    if accept:
        headers["Accept"] = accept
    return send(method, "/part", [("sort_key", sort)], body, headers)


def done(answer):
    assert answer[0] == 204, answer


def expect_index(*figures):
    names = ("entries", "conflicts", "values", "bytes")
    want = [dict(zip(names, figures), pk="part")] if figures else []
    status, _, body = send("GET")
    got = json.loads(body)
    assert status == 200 and got == {
        "prefix": None, "start": None, "end": None, "limit": None, "reverse": False,
        "partitionKeys": want, "more": False, "nextStart": None}, (got, want)


def expect_item(sort, *values):
    """Reads an item in all forms; None stands for a deletion."""
    as_json = [v if v is None else base64.b64encode(v).decode() for v in values]
    single = len(values) == 1
    for accept in (None, "application/json", "application/octet-stream", "*/*", "application/json, application/octet-stream"):
        status, headers, body = item("GET", sort, accept=accept)
        if accept in (None, "application/json") or not single and accept != "application/octet-stream":
            assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", as_json), (accept, status, body)
        elif not single:
            assert status == 409, (accept, status, body)
        elif values[0] is None:
            assert (status, body) == (204, b""), (accept, status, body)
        else:
            assert (status, headers["content-type"], body) == (200, "application/octet-stream", values[0]), (accept, status, body)
        token = headers[TOKEN]
    assert item("GET", sort, accept="text/html")[0] == 406
    return token


# Items come, change, get into conflict and go; the index counts along.
expect_index()
first, second, third = b"what was first", b"its successor", b"and another one, unaware of it"
both = len(second) + len(third)
names = ["ä", "b/c", "d e", "f"]
for n, sort in enumerate(names):
    done(item("PUT", sort, first))
    token = expect_item(sort, first)
    expect_index(n + 1, n, 2 * n + 1, n * both + len(first))
    done(item("PUT", sort, second, token))
    expect_item(sort, second)
    done(item("PUT", sort, third, token))
    expect_item(sort, second, third)
    expect_index(n + 1, n + 1, 2 * n + 2, (n + 1) * both)
for n, sort in enumerate(names):
    done(item("DELETE", sort, token=expect_item(sort, second, third)))
    expect_item(sort, None)
    left = len(names) - n - 1
    expect_index(*((left, left, 2 * left, left * both) if left else ()))

# A deletion that has not seen everything stands beside what it has not seen.
done(item("PUT", "x", first))
token = expect_item("x", first)
done(item("PUT", "x", second))
expect_item("x", first, second)
done(item("DELETE", "x", token=token))
done(item("DELETE", "x", token=expect_item("x", second, None)))
expect_item("x", None)

# Refusals change nothing.
refused = [
    ("PUT", "/part", [("sort_key", "y")], b"v", {TOKEN: "no$token"}),
    ("GET", "/part", [("sort_key", "y"), ("causality_token", "no$token")], b"", {}),
    ("GET", "/part", [], b"", {}),
    ("DELETE", "/part", [("sort_key", "y")], b"", {}),
    ("POST", "", [("search", "")], b"[{}]", {}),
    ("POST", "", [("search", "")], b'[{"partitionKey":"part","prefix":"a","start":"b"}]', {}),
    ("POST", "", [("search", "")], b'[{"partitionKey":"part"', {}),
    ("POST", "", [], b'[{"pk":"part","sk":"y","ct":"no$token","v":"dg=="}]', {}),
    ("POST", "", [], b'[{"pk":"part","sk":"y","ct":null,"v":"$$$$"}]', {}),
]
for call in refused:
    status, headers, body = send(*call)
    error = json.loads(body)
    assert status == 400 and error["code"] and error["message"] and error["path"] and "region" in error, (call, status, body)
status, headers, body = item("GET", "y")
assert status == 404 and json.loads(body)["code"] == "NoSuchKey", (status, body)
print("K2V by botocore's signature: all as specified")
