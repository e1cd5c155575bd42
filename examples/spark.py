"""A Spark job that sends requests with batch: spark-submit examples/spark.py requests.ndjson answers

Each partition runs one batch process. If a partition fails, a cluster runs it again, like any other task. The answers
of a partition are kept only if all of them are complete. The output directory has one file per partition.
"""

import os
import sys

from pyspark import SparkContext

PARTITIONS = 4
# A piped process gets only these environment variables. OLLAMA_API_KEY is not one of them, because Spark would send it
# with every task.
PASSED = ("PATH", "OLLAMA_HOST", "OLLAMA_MODEL")

if __name__ == "__main__":
    requests, answers = sys.argv[1:]
    env = {name: os.environ[name] for name in PASSED if name in os.environ}
    lines = SparkContext(appName="batch").textFile(requests, PARTITIONS)
    lines.pipe("batch -q -j 4", env, checkCode=True).saveAsTextFile(answers)
