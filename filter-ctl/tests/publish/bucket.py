"""Makes a bucket: bucket.py ENDPOINT NAME"""

import sys

import boto3

endpoint, name = sys.argv[1:]
boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
