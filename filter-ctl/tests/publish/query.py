"""Queries Parquet files with DuckDB as AWS's pages query them with Athena: query.py FOLDER

The table is AWS's own for Parquet (Athena guide, "Create and query a table for VPC flow logs in Apache Parquet
format"), with DuckDB's way of naming the files; Hive partitions become columns.
"""

import json
import sys

import duckdb

AWS_COLUMNS = """
  version int, account_id string, interface_id string, srcaddr string, dstaddr string, srcport int, dstport int,
  protocol bigint, packets bigint, bytes bigint, start bigint, "end" bigint, action string, log_status string,
  vpc_id string, subnet_id string, instance_id string, tcp_flags int, type string, pkt_srcaddr string,
  pkt_dstaddr string, region string, az_id string, sublocation_type string, sublocation_id string,
  pkt_src_aws_service string, pkt_dst_aws_service string, flow_direction string, traffic_path int
"""

files = f"read_parquet('{sys.argv[1]}/**/*.log.parquet', hive_partitioning = true)"
types = {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM {files}").fetchall()}
duckdb.sql(f"CREATE TABLE vpc_flow_logs_parquet ({AWS_COLUMNS})")
named = ", ".join(f'"{row[0]}"' for row in duckdb.sql("DESCRIBE vpc_flow_logs_parquet").fetchall())
duckdb.sql(f"INSERT INTO vpc_flow_logs_parquet BY NAME SELECT {named} FROM {files}")


def rows(statement):
    return [list(row) for row in duckdb.sql(statement).fetchall()]


json.dump(
    {
        "types": types,
        "partitions": rows(f'SELECT DISTINCT year, month, day, hour, "aws-account-id" FROM {files} ORDER BY hour'),
        # Athena guide, "Example queries for vpc_flow_logs".
        "rejected": rows(
            "SELECT interface_id, srcaddr, action, protocol FROM vpc_flow_logs_parquet"
            " WHERE action = 'REJECT' AND protocol = 6 LIMIT 100"
        ),
        "top": rows(
            "SELECT SUM(bytes) AS bytes, dstaddr FROM vpc_flow_logs_parquet WHERE dstport = 443"
            " GROUP BY dstaddr ORDER BY bytes DESC LIMIT 10"
        ),
        "statuses": rows(
            "SELECT log_status, count(*), count(srcaddr), count(packets) FROM vpc_flow_logs_parquet"
            " GROUP BY log_status ORDER BY log_status"
        ),
        "ends": rows('SELECT MIN("end"), MAX("end") FROM vpc_flow_logs_parquet'),
    },
    sys.stdout,
)
