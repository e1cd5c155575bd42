"""batch: send many requests, several at a time, and write one answer line for each request."""

from __future__ import annotations

import contextlib
import os
import re

from ostream.cli.batch_options import BatchOptions, parser
from ostream.cli.options import common_fields, make_session, read_text
from ostream.errors import OK, IncompleteStream, OutputError, RequestError, worst
from ostream.protocol.ndjson import encode_line
from ostream.protocol.request import parse_json
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import input_name, read_input
from ostream.system.output import Output, refuse_input_as_stdout
from ostream.system.polling import is_pipe, pollable_or_none
from ostream.system.process import check_stdout, exit_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ContextManager, Sequence

    from ostream.batch.failures import FailureReport
    from ostream.batch.inputs import InputFormat
    from ostream.batch.jobs import RequestDefaults
    from ostream.batch.plan import AnswerSink, Plan
    from ostream.batch.progress import Progress
    from ostream.net.session import Session


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, parser().parse(arguments, diagnostics, BatchOptions()))


def run(diagnostics: Diagnostics, options: BatchOptions) -> int:
    # These modules are loaded only now, so that --help and usage errors appear without a delay.
    from ostream.batch.failures import FailureReport
    from ostream.batch.inputs import RequestReader
    from ostream.batch.plan import Plan
    from ostream.batch.progress import Progress
    from ostream.batch.row_count import count_rows
    from ostream.batch.runner import BatchRunner, RunLimits
    from ostream.batch.sender import SendPolicy
    from ostream.cli.request_builder import report_unusual

    output = _output(options.output)
    if output is None or options.dry_run:
        check_stdout()
    if output is None and (options.resume or options.changed != "keep"):
        option = "--resume" if options.resume else "--changed"
        raise RequestError(f"{option}: needs an answer file", advice="add -o FILE")
    form = _input_format(options)
    files = list(options.files) or ["-"]
    if options.input == "files" and not options.files:
        raise RequestError("--files: needs at least one FILE")
    session = make_session(options)
    defaults = _defaults(options)
    report_unusual(session, options, diagnostics)
    progress = Progress(
        diagnostics, every=options.progress, shared=output is None and is_pipe(1), totals=output is not None
    )
    if progress.is_shown and not options.dry_run:
        progress.total = count_rows(files, form)
    # Without -o, batch ends when the program that reads its output ends. With -o, standard output is not used.
    reader_fd = pollable_or_none(1) if output is None else None
    with _sink(options, output, files, progress) as sink:
        failures = FailureReport(progress, had_success=sink.index.answered > 0)
        reader = RequestReader(files, form, defaults, progress.note, reader_fd)
        plan = Plan(reader, sink, options.changed == "resend", form.has_positions, progress.skip, failures.add_row)
        if "-" in files and os.isatty(0):
            diagnostics.note("reading requests from the terminal; end them with Ctrl-D")
        if options.dry_run:
            out = Output(1, "standard output", options.raw_terminal)
            return _checked(plan, options, _dry_run(plan, session, failures, progress, out))
        if sink.dropped:
            progress.note(f"{sink.name}: removed {sink.dropped:,} failed, blank or repeated line(s)")
        if sink.replaced:
            why = "because their ids have answers to other requests"
            progress.note(f"{sink.name}: moved {sink.replaced:,} answer(s) to {sink.name}.replaced, {why}")
        if sink.torn:
            progress.note(f"{sink.name}: moved {sink.torn:,} damaged line(s) to {sink.name}.torn")
        policy = SendPolicy(options.retry, options.patience, options.fail_on_length, options.fail_on_empty)
        limits = RunLimits(options.jobs, options.keep_order, options.max_failures, options.stall_timeout)
        runner = BatchRunner(session, sink, progress, failures, policy, limits, reader_fd)
        try:
            status = worst(runner.run(plan), plan.status)
        finally:
            with progress.cleared():
                sink.sync()
        _finish(plan, failures, progress)
        if plan.answered and plan.answered == plan.requests:
            progress.note(f"{sink.name}: every request is answered ({plan.requests:,}); nothing was sent")
        progress.end()
    if runner.interrupted:
        end = (
            "run the same command with --resume to continue"
            if output is not None
            else "unsent requests have no output line"
        )
        diagnostics.note(f"interrupted; {end}")
        exit_by_signal(runner.interrupted)
    return _checked(plan, options, status)


def _checked(plan: Plan, options: BatchOptions, status: int) -> int:
    """Return the exit status. Raises IncompleteStream if the input was read without an error, but has no requests."""
    if plan.requests or status != OK:
        return status
    raise IncompleteStream(
        f"{', '.join(map(input_name, plan.files))}: contains no requests",
        advice="add rows below the header row"
        if options.input == "csv"
        else "write one JSON object with a prompt per line, or use --lines for one prompt per line",
    )


def _finish(plan: Plan, failures: FailureReport, progress: Progress) -> None:
    failures.finish()
    for error in plan.problems():
        progress.print_failure(error, "")
    for note in plan.notes():
        progress.note(note)


def _dry_run(plan: Plan, session: Session, failures: FailureReport, progress: Progress, out: Output) -> int:
    """Print the request lines that would be sent, and a note with their number. Return the exit status."""
    status = OK
    count = 0
    for job in plan.jobs():
        if job.failure:
            status = worst(status, job.failure.exit_status)
            failures.add(job, job.failure)
        else:
            count += 1
            request = {**session.request_line(job.path, job.body), "id": job.id}
            out.write_lines(encode_line(request))
    _finish(plan, failures, progress)
    progress.note(
        f"requests to send: {count:,} (failed before: {plan.failed_before:,}); already answered: {plan.answered:,}; "
        f"unusable rows: {progress.failures:,}"
    )
    return worst(status, plan.status)


def _output(names: Sequence[str]) -> str | None:
    """Return the FILE of -o, or None without -o.

    Raises RequestError if -o is given twice, or as NAME=VALUE: `send -o` sets a model option, but `batch -o` does not.
    """
    for name in names:
        if re.fullmatch(r"[a-z_]+=[^/]*", name):
            raise RequestError(
                f"-o {name}: -o is the output file",
                advice=f"model options are --option {name}; a file of that name is ./{name}",
            )
    if len(names) > 1:
        raise RequestError("-o: given twice")
    return names[0] if names else None


def _input_format(options: BatchOptions) -> InputFormat:
    from ostream.batch.inputs import InputFormat

    prompt = read_text(options.prompt, "--prompt")
    return InputFormat(options.input or "ndjson", prompt, options.id, options.delimiter, options.encoding)


def _defaults(options: BatchOptions) -> RequestDefaults:
    from ostream.batch.jobs import RequestDefaults
    from ostream.cli.request_builder import default_model

    return RequestDefaults(
        options.model,
        default_model(),
        options.generate,
        read_text(options.system, "--system"),
        common_fields(options),
        options.stream,
        chat_fields={"tools": _tools(options.tools)},
        generate_fields={"raw": options.raw, "template": read_text(options.template, "--template")},
    )


def _tools(name: str | None) -> list[Any] | None:
    if name is None:
        return None
    tools = parse_json(read_input(name), f"--tools {name}")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RequestError(f"--tools {name}: must be a JSON array of tool schemas")
    return tools


def _sink(
    options: BatchOptions, output: str | None, files: list[str], progress: Progress
) -> ContextManager[AnswerSink]:
    from ostream.batch.answer_file import StdoutSink, open_answers

    if output is None:
        try:
            refuse_input_as_stdout(files)
        except RequestError as error:
            # An OutputError, unlike other errors, writes no error line to standard output, which is the input here.
            raise OutputError(str(error), advice=error.advice) from None
        return contextlib.nullcontext(StdoutSink(Output(1, "standard output", options.raw_terminal)))
    return open_answers(
        output, options.resume, files, lambda done, size: progress.reading(output, done, size), options.dry_run
    )
