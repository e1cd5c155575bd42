"""Which requests are sent when the input has changed since it was answered."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ostream.batch.answer_file import AnswerFile, StdoutSink, open_answers
from ostream.batch.inputs import CSV, FILES, LINES, NDJSON, InputFormat, RequestReader
from ostream.batch.jobs import RequestDefaults
from ostream.batch.plan import Plan
from ostream.batch.positions import PositionMatcher
from ostream.batch.responses import answer_line, failure_line
from ostream.errors import ResponseError
from ostream.system.output import Output

M = RequestDefaults("m")


class Batch:
    """Runs of a batch without a server: an answer is the prompt. `sent` are the ids and prompts of the last run."""

    def __init__(self, folder: Path, kind: str = LINES) -> None:
        self.file = folder / "answers"
        self.form = InputFormat(kind, "{text}" if kind == CSV else None)
        self.input = folder / "input"
        self.sent: dict[Any, str] = {}

    def run(self, data: bytes, fail: str = "", resend: bool = False, defaults: RequestDefaults = M) -> Plan:
        self.input.write_bytes(data)
        self.reported: list[str] = []
        self.sent = {}
        with open_answers(str(self.file), True, [], dry_run=True) as answers:
            due = sorted(job.number or 0 for job in self.plan(answers, resend, defaults).jobs() if not job.failure)
        self.reported.clear()
        with open_answers(str(self.file), True, []) as answers:
            plan = self.plan(answers, resend, defaults)
            numbers = []
            for job in plan.jobs():
                body = job.body
                prompt = body.get("prompt") or body["messages"][-1]["content"]
                self.sent[job.id] = prompt
                numbers.append(job.number or 0)
                if prompt in fail.split():
                    answers.write(failure_line(job, ResponseError("no", 500)))
                else:
                    answer = {"model": body["model"], "response": prompt, "done": True}
                    answers.write(answer_line(job, answer, json.dumps(answer).encode()))
        assert sorted(numbers) == due, "a dry run lists the requests that are sent"
        return plan

    def plan(self, answers: AnswerFile, resend: bool, defaults: RequestDefaults) -> Plan:
        reader = RequestReader([str(self.input)], self.form, defaults, lambda note: None)
        return Plan(
            *(reader, answers, resend, self.form.has_positions, lambda: None),
            lambda job, error: self.reported.append(str(error)),
        )

    def answers(self) -> dict[Any, str]:
        """The text of each answer, by id; an id must occur once."""
        lines = [json.loads(line) for line in self.file.read_bytes().splitlines()]
        found = {line["id"]: line.get("response", "FAILED") for line in lines}
        assert len(found) == len(lines)
        return found

    def replaced(self) -> list[tuple[Any, str]]:
        path = Path(f"{self.file}.replaced")
        lines = [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        return [(line["id"], line["response"]) for line in lines]


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def rows(**prompts: str) -> bytes:
    return b"".join(json.dumps({"id": id, "prompt": text}).encode() + b"\n" for id, text in prompts.items())


def problems(plan: Plan) -> list[str]:
    return [f"{error}; {error.advice}" for error in plan.problems()]


@pytest.mark.parametrize("resend", [False, True])
def test_edited_line_keeps_its_answer_unless_it_is_resent(resend: bool, tmp_path: Path) -> None:
    batch = Batch(tmp_path)
    batch.run(lines("a", "b", "c", "d"))
    plan = batch.run(lines("new", "a", "B", "c", "d"), resend=resend)
    assert batch.sent == {0: "new", **({2: "B"} if resend else {})}
    assert batch.answers() == {0: "new", 1: "a", 2: "B" if resend else "b", 3: "c", 4: "d"}
    assert batch.replaced() == ([(1, "b")] if resend else [])
    assert plan.status == (0 if resend else 2)
    text = "1 request changed since it was answered (id 2)"
    if resend:
        assert list(plan.notes()) == [f"{text}; earlier answers are in {batch.file}.replaced"]
    else:
        assert problems(plan) == [f"{text}; use --changed=resend to send it again"]


def test_lines_removed_at_the_end_change_nothing(tmp_path: Path) -> None:
    batch = Batch(tmp_path)
    batch.run(lines("a", "b", "c"))
    plan = batch.run(lines("A", "b"))
    assert batch.answers() == {0: "a", 1: "b", 2: "c"}
    assert (plan.status, batch.sent, batch.replaced()) == (2, {}, [])


def test_removed_line_leaves_no_answer_of_its_own(tmp_path: Path) -> None:
    batch = Batch(tmp_path)
    batch.run(lines("a", "b", "c", "d"))
    plan = batch.run(lines("a", "c"))
    assert batch.sent == {}
    assert batch.answers() == {0: "a", 1: "c", 3: "d"}
    assert batch.replaced() == [(1, "b")]
    (note,) = plan.notes()
    assert note == (f"{batch.file}: answers whose request is not in this input: 2; moved to {batch.file}.replaced: 1")


def test_failed_line_does_not_hide_that_lines_moved(tmp_path: Path) -> None:
    batch = Batch(tmp_path)
    batch.run(lines("a", "b", "c", "d"), fail="b")
    batch.run(lines("a", "c", "d"))
    assert batch.sent == {}
    assert batch.answers() == {0: "a", 1: "c", 2: "d"}


def test_equal_lines_share_no_answer(tmp_path: Path) -> None:
    batch = Batch(tmp_path)
    batch.run(lines("a", "x", "b", "x"), fail="b")
    batch.run(lines("x", "a", "x", "b", "x"))
    assert sorted(batch.sent.values()) == ["b", "x"]
    assert batch.answers() == {0: "x", 1: "a", 2: "x", 3: "b", 4: "x"}


@pytest.mark.parametrize("kind", [LINES, CSV])
def test_any_edit_ends_with_each_row_answered_once(kind: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    luck = random.Random(seed)
    header = ["text"] if kind == CSV else []
    batch = Batch(tmp_path, kind)
    texts = [str(luck.randrange(8)) for _ in range(12)]
    for _ in range(30):
        batch.run(lines(*header, *texts), fail=luck.choice(["", "3", "5 6"]), resend=True)
        before = batch.answers()
        known = {id for id, text in before.items() if text != "FAILED"}
        for _ in range(luck.randrange(3)):
            at = luck.randrange(len(texts))
            texts[at : at + luck.randrange(2)] = [str(luck.randrange(8)) for _ in range(luck.randrange(3))]
            texts = texts or ["0"]
        batch.run(lines(*header, *texts), resend=True)
        after = batch.answers()
        assert [after[number] for number in range(len(texts))] == texts, f"seed {seed}"
        # Nothing is sent that was answered, but for equal texts of which there are more now.
        kept = [before[id] for id in known]
        for text in set(batch.sent.values()):
            assert texts.count(text) - kept.count(text) <= list(batch.sent.values()).count(text) <= texts.count(text)


def test_only_changed_ids_are_kept_or_resent(tmp_path: Path) -> None:
    batch = Batch(tmp_path, NDJSON)
    batch.run(rows(a="1", b="2", c="3"), fail="2")
    changed = rows(n="0", a="new", b="2", c="3")
    plan = batch.run(changed)
    assert batch.sent == {"n": "0", "b": "2"}
    assert list(batch.sent) == ["n", "b"]  # new rows first
    assert (plan.status, plan.failed_before, plan.answered) == (2, 1, 1)
    assert problems(plan) == ['1 request changed since it was answered (id "a"); use --changed=resend to send it again']
    assert batch.answers()["a"] == "1"
    plan = batch.run(changed, resend=True)
    assert batch.sent == {"a": "new"}
    assert (plan.status, batch.replaced()) == (0, [("a", "1")])
    assert batch.answers() == {"n": "0", "a": "new", "b": "2", "c": "3"}


def test_changed_model_or_option_is_named(tmp_path: Path) -> None:
    batch = Batch(tmp_path, NDJSON)
    data = rows(**{f"r{number}": str(number) for number in range(7)})
    batch.run(data)
    (text,) = problems(batch.run(data, defaults=RequestDefaults("n")))
    assert text == (
        '7 requests changed since they were answered (id "r0", "r1", "r2", "r3", "r4" and 2 more): '
        "the model was m, and is n now; use another -o FILE for another model, or --changed=resend to send them again"
    )
    (text,) = problems(batch.run(data, defaults=RequestDefaults("m", fields={"think": True})))
    assert ": all of them, so an option such as -m, -s, --option, -f or --prompt changed;" in text


def test_one_id_with_two_requests_is_reported_with_both_lines(tmp_path: Path) -> None:
    batch = Batch(tmp_path, NDJSON)
    plan = batch.run(rows(a="1", b="2") + rows(a="1") + rows(a="other", c="3"))
    assert batch.sent == {"a": "1", "b": "2", "c": "3"}
    assert batch.reported == [f'{batch.input}:4: id "a" has another request at {batch.input}:1']
    assert (plan.status, list(plan.notes())) == (2, ["rows with the id and request of an earlier row, sent once: 1"])


@pytest.mark.parametrize(("kind", "place"), [(CSV, "{name}, row 2"), (FILES, "{name}")])
def test_place_of_an_earlier_row_is_its_row_or_file(kind: str, place: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"id,text\nx,1\n")
    two.write_bytes(b"id,text\ny,1\nz,2\nz,3\n")
    form = InputFormat(CSV, "{text}", "id") if kind == CSV else InputFormat(FILES)
    reader = RequestReader([str(one), str(two), str(one)], form, M, lambda note: None)
    with open(tmp_path / "out", "wb") as out:
        plan = Plan(
            reader, StdoutSink(Output(out.fileno(), "out")), False, False, lambda: None, lambda job, error: None
        )
        failed = [job for job in plan.jobs() if job.failure]
    if kind == CSV:  # on standard output, later stages must know
        assert str(failed[0].failure) == f'{two}:4: id "z" has another request at ' + place.format(name=two)
    assert len(failed) == (1 if kind == CSV else 0)
    assert plan.repeated == 1
    assert reader.where(str(two), 1) == place.format(name=two)


def test_large_jobs_wait_in_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.batch.plan._SPOOL_BYTES", 100)
    batch = Batch(tmp_path, NDJSON)
    data = rows(**{f"r{number}": str(number) for number in range(20)})
    batch.run(data, fail=" ".join(map(str, range(20))))
    batch.run(data)
    assert len(batch.sent) == 20


def test_matcher_prefers_the_answer_in_place_and_keeps_the_order() -> None:
    matcher = PositionMatcher([(0, "a" * 64), (1, "a" * 64), (2, "b" * 64)])
    assert matcher.has("b" * 64)
    assert not matcher.has("c" * 64)
    assert matcher.claim(1, "a" * 64)
    assert matcher.claim(2, "a" * 64)
    assert not matcher.claim(3, "a" * 64)
    assert matcher.settle({3}) == ({0: 2}, {}, [2])
    # Row 1 can have only one of the answers 1 and 4. Answer 3, now at row 0, is between them.
    matcher = PositionMatcher([(1, "a" * 64), (3, "b" * 64), (4, "c" * 64)])
    assert matcher.claim(0, "b" * 64)
    assert matcher.settle({1}) == ({3: 0}, {4: 1}, [1])
