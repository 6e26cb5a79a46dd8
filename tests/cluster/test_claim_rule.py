"""The rule of claims, whatever happens in whatever order: workers, crashes at every step, several runs at once.

Each step of a worker is a rule of the machine, so that workers stop anywhere, for as long as it takes, and go on: a
crash is a worker that never goes on. The steps are those of the package; only the requests are counted here.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import define, field
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from openai_images import BatchOptions
from openai_images._util.filesystem import Disk
from openai_images.batch.folder.image_files import ImageNotStoredError
from openai_images.batch.items.plan import make_plan
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.batch.journal.journal import done_row, result_fields
from openai_images.batch.journal.journal_reader import StoredFile
from openai_images.batch.run.run_state import ItemTakenError, WorkItem
from openai_images.cluster.claim_store import Claimant, ClaimStore
from openai_images.cluster.job import ItemSpec
from openai_images.cluster.records import item_ids, item_stem, parse_record, record_name
from openai_images.cluster.status import Images, list_storage, make_ledger, read_attempts
from openai_images.cluster.worker import find_taken
from openai_images.models.image import Image
from openai_images.models.results import ImageResult
from tests.helpers.batch_runs import many
from tests.helpers.clients import PNG
from tests.helpers.memory_storage import MemoryStorage

ITEMS = resolve_items(many(1), None, BatchOptions())
IDS = item_ids(ITEMS)


@define(eq=False)
class Task:
    """An item that a worker of a run has in hand: what was planned, and how far it is."""

    run: str
    retry_unknown: bool
    spec: ItemSpec
    store: ClaimStore
    step: str = "look"
    files: Sequence[StoredFile] = ()

    @property
    def item(self) -> Any:
        """What the store knows of it."""
        return self.store._items[self.spec.key]


@define(eq=False)
class Sent:
    """A request that was sent: under which attempt, by which task, and whether it was found not to have run."""

    attempt: int
    task: Task
    refused: bool = False
    earlier: list["Sent"] = field(factory=list["Sent"])


class ClaimMachine(RuleBasedStateMachine):
    """Runs are planned, engines hand out their items, also twice, and workers take one step at a time."""

    planned = Bundle("planned")
    tasks = Bundle("tasks")

    def __init__(self) -> None:
        """Nothing was asked for."""
        super().__init__()
        self.storage = MemoryStorage()
        self.sent: dict[str, list[Sent]] = {item.key: [] for item in ITEMS}
        self.runs = 0
        self.pictures: Counter[str] = Counter()

    @initialize(target=planned)
    def first_plan(self) -> list[tuple[str, bool, ItemSpec]]:
        """The first run."""
        return self.plan(retry_unknown=False, retry_failed=False)

    @rule(target=planned, retry_unknown=st.booleans(), retry_failed=st.booleans())
    def next_plan(self, retry_unknown: bool, retry_failed: bool) -> list[tuple[str, bool, ItemSpec]]:
        """Another run."""
        return self.plan(retry_unknown=retry_unknown, retry_failed=retry_failed)

    def plan(self, *, retry_unknown: bool, retry_failed: bool) -> list[tuple[str, bool, ItemSpec]]:
        """A run begins: it lists the storage, and plans."""
        self.runs += 1
        options = BatchOptions(retry_unknown=retry_unknown, retry_failed=retry_failed)
        listing = list_storage(self.storage)
        ledger = make_ledger(read_attempts(self.storage, listing, {id_: key for key, id_ in IDS.items()}))
        images = Images(self.storage, listing, "now")
        images.adopt(IDS, ledger)
        plan = make_plan(ITEMS, ledger, images.findings(IDS, ledger, ()), options)
        return [
            (
                f"run {self.runs}",
                retry_unknown,
                ItemSpec(
                    IDS[item.key],
                    listing.last_attempt(IDS[item.key]),
                    WorkItem(item=item, stem=item_stem(item.key, IDS[item.key])),
                ),
            )
            for item in ITEMS
            if item.key in plan.to_send
        ]

    @rule(target=tasks, planned=planned)
    def hand_out(self, planned: list[tuple[str, bool, ItemSpec]]) -> Any:
        """An engine gives the items to a worker; perhaps not for the first time."""
        tasks = [
            Task(run, retry_unknown, spec, ClaimStore(self.storage, Claimant(run), Disk()))
            for run, retry_unknown, spec in planned
        ]
        return multiple(*tasks)

    @rule(task=tasks, steps=st.integers(1, 5))
    def go_on(self, task: Task, steps: int) -> None:
        """A worker takes its next steps: it looks, claims, sends, stores the image, and records the end."""
        for _ in range(steps):
            getattr(self, f"_{task.step}")(task)

    @rule(task=tasks, other=tasks, steps=st.integers(2, 5))
    def race(self, task: Task, other: Task, steps: int) -> None:
        """Two workers take their steps in turn."""
        for _ in range(steps):
            for each in {task, other}:
                getattr(self, f"_{each.step}")(each)

    @rule(task=tasks)
    def not_executed(self, task: Task) -> None:
        """The server provably did not execute the request; it is sent again by the same worker, or not at all."""
        if task.step == "store":
            self._find(task).refused = True
            task.store._record(task.item, self._row(task, "refused"))
            task.step = "claim"

    @rule(task=tasks, state=st.sampled_from(["unknown", "failed"]))
    def no_image(self, task: Task, state: str) -> None:
        """The request ends without an image."""
        if task.step == "store":
            task.store._record(task.item, self._row(task, state))
            task.step = "over"

    @rule(task=consumes(tasks))
    def crash(self, task: Task) -> None:
        """A worker dies, and nobody is told."""

    def _look(self, task: Task) -> None:
        taken = find_taken(self.storage, task.spec)
        if taken.rows:
            task.step = "over"
            return
        task.store.begin(task.spec.key, task.spec.id, taken.attempt)
        task.step = "claim"

    def _claim(self, task: Task) -> None:
        earlier = [
            self.storage.data.get(record_name(task.spec.id, n), b"") for n in range(1, task.spec.attempt + 1)
        ]
        is_done = any(b'"state":"done"' in record for record in earlier)
        try:
            task.store._claim(task.item, self._row(task, "sent"))
        except ItemTakenError:
            task.step = "look"
        else:
            assert not is_done, "what is recorded as done is requested again"
            task.step = "send"

    def _send(self, task: Task) -> None:
        earlier = self.sent[task.spec.key]
        earlier.append(Sent(task.item.attempt, task, earlier=list(earlier)))
        task.step = "store"

    def _store(self, task: Task) -> None:
        try:
            stored = task.store.save(task.spec.work.stem, [Image.from_bytes(PNG)], 1)
        except ImageNotStoredError:
            raise AssertionError from None
        task.files = stored.files
        self.pictures[task.spec.key] += 1
        task.step = "record"

    def _record(self, task: Task) -> None:
        row = done_row(task.spec.key, task.spec.work.item.digest, task.files)
        task.store._record(task.item, {**row, **result_fields(ImageResult((Image.from_bytes(PNG),)))})
        task.step = "over"

    def _over(self, task: Task) -> None:
        """Nothing is left to do."""

    def _row(self, task: Task, state: str) -> dict[str, Any]:
        item = task.spec.work.item
        return {"state": state, "key": item.key, "request": item.digest, "stem": task.spec.work.stem}

    def _find(self, task: Task) -> Sent:
        return [sent for sent in self.sent[task.spec.key] if sent.task is task][-1]

    @invariant()
    def an_item_is_sent_at_most_once_for_each_claim(self) -> None:
        """And there is such a claim."""
        found = [parse_record(entry.name) for entry in self.storage.list("claims")]
        claims = {name[:2] for name in found if name is not None}
        for key, requests in self.sent.items():
            attempts = [(IDS[key], sent.attempt) for sent in requests]
            assert len(set(attempts)) == len(attempts)
            assert set(attempts) <= claims

    @invariant()
    def nothing_is_sent_again_unasked(self) -> None:
        """After a request that may have run only a run that was told to, and had seen that attempt, sends again."""
        for requests in self.sent.values():
            for sent in requests:
                for other in sent.earlier:
                    if other.attempt < sent.attempt and not other.refused:
                        assert other.attempt <= sent.task.spec.attempt
                        last = self._state_when_planned(other)
                        assert last == "failed" or sent.task.retry_unknown

    def _state_when_planned(self, sent: Sent) -> str:
        name = f"records/{sent.task.spec.id}.{sent.attempt}.json"
        return "failed" if b'"state":"failed"' in self.storage.data.get(name, b"") else "unknown"

    @invariant()
    def what_was_stored_is_done(self) -> None:
        """Whoever plans next finds every item done that has an image."""
        storage = MemoryStorage()
        storage.data = dict(self.storage.data)
        listing = list_storage(storage)
        ledger = make_ledger(read_attempts(storage, listing, {id_: key for key, id_ in IDS.items()}))
        Images(storage, listing, "now").adopt(IDS, ledger)
        for key, number in self.pictures.items():
            if number:
                assert ledger.get(key).files


TestClaimRule = ClaimMachine.TestCase
TestClaimRule.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
