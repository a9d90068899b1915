"""Reads flow logs with flowlogs_reader and prints them as JSON, with the names of the log streams.

read.py ENDPOINT cloudwatch GROUP START END | read.py ENDPOINT s3 BUCKET/PREFIX START END
"""

import json
import sys
from datetime import datetime, timezone

import boto3
from flowlogs_reader import FlowLogsReader, S3FlowLogsReader

endpoint, kind, location, start, end = sys.argv[1:]
times = {
    "start_time": datetime.fromtimestamp(int(start), timezone.utc).replace(tzinfo=None),
    "end_time": datetime.fromtimestamp(int(end), timezone.utc).replace(tzinfo=None),
    "raise_on_error": True,
}
streams = []
if kind == "cloudwatch":
    logs = boto3.client("logs", endpoint_url=endpoint, region_name="us-east-1")
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=location)
    streams = sorted(stream["logStreamName"] for page in pages for stream in page["logStreams"])
    reader = FlowLogsReader(location, boto_client=logs, **times)
else:
    reader = S3FlowLogsReader(
        location, boto_client=boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1"), **times
    )


def plain(value):
    return int(value.replace(tzinfo=timezone.utc).timestamp()) if isinstance(value, datetime) else value


records = [{key: plain(value) for key, value in record.to_dict().items()} for record in reader]
json.dump({"streams": streams, "records": records}, sys.stdout)
