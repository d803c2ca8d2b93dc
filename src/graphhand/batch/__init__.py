"""Millions of images and hours of video: work in shards, one Parquet file each, for any number of workers."""

from graphhand.batch.job import BatchJob, ShardResult
from graphhand.batch.tables import hand_schema, hand_table

__all__ = ["BatchJob", "ShardResult", "hand_schema", "hand_table"]
