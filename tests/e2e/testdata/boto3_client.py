"""What boto3 users do, against the server named in the environment."""

import concurrent.futures
import io
import os

import boto3
import botocore
from botocore.config import Config

print("boto3", boto3.__version__)
BUCKET = os.environ["BUCKET"]
s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["AWS_ENDPOINT_URL"],
    config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
)


def code(fn, *args, **kwargs):
    """The error code and status that a call fails with."""
    try:
        fn(*args, **kwargs)
    except botocore.exceptions.ClientError as e:
        return e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"]
    return None, 200


def check(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


KEYS = ["plain", "with space", "plus+sign", "per%20cent", "ünï/cödé", "a//b", "a/../b", "trailing/", "quote\"'<>&", "x" * 1024]
for key in KEYS:
    body = os.urandom(1000)
    r = s3.put_object(Bucket=BUCKET, Key="boto/" + key if len(key) < 1000 else key, Body=body, Metadata={"k": "v"}, ContentType="text/x", CacheControl="no-store")
    full = "boto/" + key if len(key) < 1000 else key
    g = s3.get_object(Bucket=BUCKET, Key=full)
    check(g["Body"].read(), body)
    check((g["Metadata"], g["ContentType"], g["CacheControl"], g["ETag"]), ({"k": "v"}, "text/x", "no-store", r["ETag"]))
listed = [o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="boto/", PaginationConfig={"PageSize": 3}) for o in p.get("Contents", [])]
check(sorted(listed), listed)
check(set(listed), {"boto/" + k for k in KEYS if len(k) < 1000})
check(code(s3.put_object, Bucket=BUCKET, Key="x" * 1025, Body=b"")[0], "KeyTooLongError")

# Every checksum algorithm, in a header and in a trailer (a stream of unknown hash).
for algorithm in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]:
    try:
        r = s3.put_object(Bucket=BUCKET, Key="sum", Body=b"checked" * 1000, ChecksumAlgorithm=algorithm)
    except botocore.exceptions.MissingDependencyException:
        print("no client support for", algorithm)
        continue
    h = s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
    check(h["Checksum" + algorithm], r["Checksum" + algorithm])

# Conditions on reads and writes.
s3.put_object(Bucket=BUCKET, Key="cond", Body=b"1")
etag = s3.head_object(Bucket=BUCKET, Key="cond")["ETag"]
check(code(s3.put_object, Bucket=BUCKET, Key="cond", Body=b"2", IfNoneMatch="*"), ("PreconditionFailed", 412))
check(code(s3.put_object, Bucket=BUCKET, Key="cond", Body=b"2", IfMatch='"0"'), ("PreconditionFailed", 412))
check(code(s3.put_object, Bucket=BUCKET, Key="cond-absent", Body=b"2", IfMatch=etag)[1], 404)
check(code(s3.put_object, Bucket=BUCKET, Key="cond", Body=b"2", IfMatch=etag), (None, 200))
check(code(s3.get_object, Bucket=BUCKET, Key="cond", IfMatch=etag)[1], 412)
check(code(s3.get_object, Bucket=BUCKET, Key="cond", IfNoneMatch=s3.head_object(Bucket=BUCKET, Key="cond")["ETag"])[1], 304)


def create(i):
    return code(s3.put_object, Bucket=BUCKET, Key="race", Body=b"%d" % i, IfNoneMatch="*")[1]


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    results = list(pool.map(create, range(16)))
check(results.count(200), 1)

# Ranges.
s3.put_object(Bucket=BUCKET, Key="range", Body=bytes(range(256)) * 20000)
for header, want in [("bytes=0-9", bytes(range(10))), ("bytes=-3", bytes([253, 254, 255])), ("bytes=5119990-", bytes(range(246, 256)))]:
    check(s3.get_object(Bucket=BUCKET, Key="range", Range=header)["Body"].read(), want)
check(code(s3.get_object, Bucket=BUCKET, Key="range", Range="bytes=6000000-")[0], "InvalidRange")

# Multipart through the transfer manager and by hand.
big = os.urandom(20 << 20)
s3.upload_fileobj(io.BytesIO(big), BUCKET, "multi")
check(s3.get_object(Bucket=BUCKET, Key="multi")["Body"].read(), big)
check(s3.head_object(Bucket=BUCKET, Key="multi")["ETag"].endswith('-3"'), True)
check(s3.get_object(Bucket=BUCKET, Key="multi", PartNumber=2)["Body"].read(), big[8 << 20 : 16 << 20])
u = s3.create_multipart_upload(Bucket=BUCKET, Key="hand")["UploadId"]
p2 = s3.upload_part(Bucket=BUCKET, Key="hand", UploadId=u, PartNumber=2, Body=big[: 5 << 20])
p7 = s3.upload_part_copy(Bucket=BUCKET, Key="hand", UploadId=u, PartNumber=7, CopySource={"Bucket": BUCKET, "Key": "multi"}, CopySourceRange="bytes=100-199")
check([p["PartNumber"] for p in s3.list_parts(Bucket=BUCKET, Key="hand", UploadId=u)["Parts"]], [2, 7])
check(u in [x["UploadId"] for x in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]], True)
parts = [{"PartNumber": 2, "ETag": p2["ETag"]}, {"PartNumber": 7, "ETag": p7["CopyPartResult"]["ETag"]}]
check(code(s3.complete_multipart_upload, Bucket=BUCKET, Key="hand", UploadId=u, MultipartUpload={"Parts": parts[::-1]})[0], "InvalidPartOrder")
s3.complete_multipart_upload(Bucket=BUCKET, Key="hand", UploadId=u, MultipartUpload={"Parts": parts})
check(s3.get_object(Bucket=BUCKET, Key="hand")["Body"].read(), big[: 5 << 20] + big[100:200])
check(code(s3.upload_part, Bucket=BUCKET, Key="hand", UploadId=u, PartNumber=1, Body=b"")[0], "NoSuchUpload")

# Copies.
s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "boto/ünï/cödé"}, MetadataDirective="REPLACE", Metadata={"n": "new"})
check(s3.head_object(Bucket=BUCKET, Key="copied")["Metadata"], {"n": "new"})
check(code(s3.copy_object, Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "copied"})[0], "InvalidRequest")

# What is not built says so.
for call in [
    lambda: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}),
    lambda: s3.put_object(Bucket=BUCKET, Key="sse", Body=b"", ServerSideEncryption="AES256"),
    lambda: s3.get_object(Bucket=BUCKET, Key="cond", VersionId="abc"),
    lambda: s3.put_object_tagging(Bucket=BUCKET, Key="cond", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
]:
    got = code(call)
    assert got[1] in (501, 400, 404), got

# Virtual-hosted addresses are tried by name resolution elsewhere; presigned here.
url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "cond", "ResponseContentType": "text/override"})
import urllib.request

with urllib.request.urlopen(url) as r:
    check((r.read(), r.headers["Content-Type"]), (b"2", "text/override"))

# Deleting many at once.
everything = [o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="boto/") for o in p["Contents"]]
r = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in everything]})
check(len(r["Deleted"]), len(everything))
check(s3.list_objects_v2(Bucket=BUCKET, Prefix="boto/")["KeyCount"], 0)
print("ok")
