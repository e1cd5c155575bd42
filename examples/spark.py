"""A Spark job that sends requests with batch: spark-submit examples/spark.py requests.ndjson answers

Each partition is one process of batch. A partition that fails is rerun, as every Spark task, and its answers are kept
only if all of them are complete. The output directory has one file per partition.
"""

import os
import sys

from pyspark import SparkContext

PARTITIONS = 4
# A piped process has only the environment that it is given. Without the API key, which would be sent with every task.
PASSED = ("PATH", "OLLAMA_HOST", "OLLAMA_MODEL")

if __name__ == "__main__":
    requests, answers = sys.argv[1:]
    env = {name: os.environ[name] for name in PASSED if name in os.environ}
    lines = SparkContext(appName="batch").textFile(requests, PARTITIONS)
    lines.pipe("batch -q -j 4", env, checkCode=True).saveAsTextFile(answers)
