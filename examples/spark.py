"""A Spark job that sends requests through batch: spark-submit examples/spark.py requests.ndjson answers

Every partition is a process of `batch`; one that fails is run again, as Spark does with tasks, and its answers are kept
only when all of it is answered. The answers stand in the folder, a file for each partition.
"""

import os
import sys

from pyspark import SparkContext

PARTITIONS = 4
# A piped process has only the environment that it is given. No key is among it: it would travel with every task.
KNOWN = ("PATH", "OLLAMA_HOST", "OLLAMA_MODEL")

if __name__ == "__main__":
    requests, answers = sys.argv[1:]
    env = {name: os.environ[name] for name in KNOWN if name in os.environ}
    lines = SparkContext(appName="batch").textFile(requests, PARTITIONS)
    lines.pipe("batch -q -j 4", env, checkCode=True).saveAsTextFile(answers)
