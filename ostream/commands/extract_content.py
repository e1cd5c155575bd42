"""extract-content: write the text of each answer, or a CSV table of the answers."""

from __future__ import annotations

from ostream.cli import extraction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics

TABLE = "tables"


def parser() -> Parser:
    from ostream.cli.parser import Option

    return extraction.parser(
        "content",
        "Print the text of each answer in an NDJSON stream from Ollama, as it arrives. If an answer has "
        "no text, the exit status is 5.",
        [
            "send -m qwen3 'Why is the sky blue?' | extract-content",
            "send -m qwen3 'A shell script that ...' | extract-content -x > script.sh",
        ],
        Option("-x", "--code", help="print only the first fenced code block, line by line"),
        Option("--csv", dest="as_csv", exclusive="end", group=TABLE, help="write a CSV row per response"),
        Option(
            "--columns",
            metavar="NAMES",
            group=TABLE,
            help="id, content, error, or names of fields in JSON answers (default: id,content,error)",
        ),
        Option(
            "--join",
            metavar="TABLE",
            exclusive="end",
            group=TABLE,
            help="write the rows of this CSV file, the input of batch, each followed by its answer",
        ),
        Option(
            "--id", dest="id_column", metavar="COLUMN", group=TABLE, help="column of TABLE with the ids (batch --id)"
        ),
        Option(
            "--delimiter",
            metavar="C",
            group=TABLE,
            help="column delimiter of TABLE and the output (default: as in batch)",
        ),
        Option("--encoding", metavar="NAME", group=TABLE, help="encoding of TABLE (default: utf-8)"),
        Option("--bom", group=TABLE, help="begin with a byte order mark, which spreadsheets need to recognise UTF-8"),
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = extraction.ExtractionOptions()
    if arguments:
        parser().parse(arguments, diagnostics, options)
    return extraction.run(diagnostics, "content", options)
