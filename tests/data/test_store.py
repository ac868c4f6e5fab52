"""Truths about the store: what goes in comes out, whatever happens to the writer, the disk or the file."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import time
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path

import lmdb
import pytest
import torch
from safetensors.torch import save

from frazil.data.store import Refusal, StoredStructure, StoreWriter, StructureStore, decode, encode, is_store
from frazil.errors import InputError
from frazil.features import tensor_fields
from random_features import random_features

FORK = multiprocessing.get_context("fork")


def structure(seed: int) -> StoredStructure:
    """A small structure with three reference conformers."""
    features = random_features(2 + seed % 3, seed=seed)
    moves = torch.arange(3.0)[:, None, None]
    placed = features.coords[0, :1] + moves if seed % 2 else None
    return StoredStructure(features, features.ref_pos + moves, f"C{'C' * seed}", f"file.sdf:{seed}", placed)


def assert_same(first: StoredStructure, second: StoredStructure) -> None:
    for name in tensor_fields():
        one, other = getattr(first.features, name), getattr(second.features, name)
        assert one.dtype == other.dtype and torch.equal(one, other), name
    assert torch.equal(first.conformers, second.conformers)
    assert (first.label, first.origin) == (second.label, second.origin)
    assert (first.placed is None) == (second.placed is None)
    assert first.placed is None or second.placed is None or torch.equal(first.placed, second.placed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of a, b, c."""
    with StoreWriter(tmp_path / "store") as writer:
        writer.add({"a": structure(0), "b": structure(1)})
        writer.add({"c": structure(2)})
    return tmp_path / "store"


def test_what_is_stored_comes_back(folder: Path) -> None:
    store = StructureStore(folder)
    assert store.names == ("a", "b", "c") and len(store) == 3
    assert store.num_tokens == tuple(structure(seed).features.num_tokens for seed in range(3))
    assert store.labels == ("C", "CC", "CCC")
    for seed in range(3):
        assert_same(store[seed], structure(seed))


def test_many_at_once_are_those_one_by_one(folder: Path) -> None:
    store = StructureStore(folder)
    for found, index in zip(store.select([2, 0, 2]), (2, 0, 2), strict=True):
        assert_same(found, store[index])


def test_encoding_is_undone_by_decoding_and_the_same_every_time() -> None:
    whole = structure(3)
    assert_same(replace(decode(encode(whole)), label=whole.label, origin=whole.origin), whole)
    assert encode(whole) == encode(structure(3))


def test_conformers_take_turns(folder: Path) -> None:
    stored = StructureStore(folder)[0]
    assert torch.equal(stored.with_conformer(0).ref_pos, stored.features.ref_pos)
    assert torch.equal(stored.with_conformer(4).ref_pos[0], stored.conformers[1])
    assert torch.equal(stored.with_conformer(4).coords, stored.features.coords)


def test_coordinates_placed_by_a_conformer_go_with_it(folder: Path) -> None:
    stored = StructureStore(folder)[1]
    assert stored.placed is not None
    for index in range(3):
        assert torch.equal(stored.with_conformer(index).coords, stored.placed[index][None, None])


def test_the_fingerprint_tells_other_content(folder: Path, tmp_path: Path) -> None:
    before = StructureStore(folder).fingerprint()
    assert StructureStore(folder).fingerprint() == before
    with StoreWriter(folder) as writer:
        writer.add({"c": structure(5)})
    assert StructureStore(folder).fingerprint() != before


def test_a_store_of_the_first_layout_is_read_and_added_to(tmp_path: Path) -> None:
    whole = structure(4)
    environment = lmdb.open(str(tmp_path), map_size=2**30, max_dbs=4)
    with environment.begin(write=True) as transaction:
        transaction.put(b"meta", json.dumps({"version": 1, "frazil": "0.1"}).encode())
        row = {"tokens": whole.features.num_tokens, "label": whole.label}
        transaction.put(b"old", encode(whole), db=environment.open_db(b"records", transaction))
        transaction.put(b"old", json.dumps(row).encode(), db=environment.open_db(b"sizes", transaction))
    environment.close()
    assert_same(StructureStore(tmp_path)[0], replace(whole, origin=""))
    with StoreWriter(tmp_path) as writer:
        assert writer.origins() == {"old"}
        writer.add({"new": structure(1)})
    assert StructureStore(tmp_path).names == ("new", "old")


def test_forked_processes_read_what_their_parent_has_open(folder: Path) -> None:
    store = StructureStore(folder)
    assert_same(store[1], structure(1))
    with FORK.Pool(2) as pool:
        for seed, found in enumerate(pool.map(_encoded, [(store, 0), (store, 1), (store, 2)])):
            assert found == encode(structure(seed))


def _encoded(task: tuple[StructureStore, int]) -> bytes:
    store, index = task
    return encode(store[index])


def test_readers_see_whole_batches_while_another_process_writes(folder: Path) -> None:
    store = StructureStore(folder)
    process = FORK.Process(target=_write_pairs, args=(folder, 20))
    process.start()
    seen = set()
    while process.is_alive():
        names = StructureStore(folder).names
        assert len(names) % 2 == 1
        seen.add(len(names))
        assert_same(store[0], structure(0))
    process.join()
    assert process.exitcode == 0
    assert len(StructureStore(folder)) == 43


def _write_pairs(folder: Path, count: int) -> None:
    torch.set_num_threads(1)  # OpenMP does not survive a fork
    with StoreWriter(folder) as writer:
        for number in range(count):
            writer.add({f"{number}-left": structure(1), f"{number}-right": structure(2)})


def test_a_second_writer_is_refused_until_the_first_one_dies(folder: Path) -> None:
    opened = FORK.Event()
    holder = FORK.Process(target=_hold, args=(folder, opened))
    holder.start()
    assert opened.wait(60)
    with pytest.raises(InputError, match="another process is writing there"):
        StoreWriter(folder)
    assert_same(StructureStore(folder)[0], structure(0))
    holder.kill()
    holder.join()
    with StoreWriter(folder) as writer:
        writer.add({"d": structure(3)})
    assert len(StructureStore(folder)) == 4


def _hold(folder: Path, opened: Event) -> None:
    torch.set_num_threads(1)  # OpenMP does not survive a fork
    with StoreWriter(folder):
        opened.set()
        time.sleep(300)


def test_a_full_disk_is_one_line_and_leaves_what_was_stored(folder: Path) -> None:
    lines = FORK.SimpleQueue()
    process = FORK.Process(target=_fill, args=(folder, lines))
    process.start()
    line, number = lines.get()
    process.join()
    assert process.exitcode == 0
    assert "cannot be written" in line and str(folder) in line and "free some space" in line
    store = StructureStore(folder)
    assert len(store) == 3 + number > 3
    for index in range(len(store)):
        store[index]
    with StoreWriter(folder) as writer:
        writer.add({"later": structure(1)})
    assert "later" in StructureStore(folder).names


def _fill(folder: Path, lines: SimpleQueue[tuple[str, int]]) -> None:
    torch.set_num_threads(1)  # OpenMP does not survive a fork
    limit = (folder / "data.mdb").stat().st_size + 30_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with StoreWriter(folder) as writer:
        for number in range(100):
            try:
                writer.add({f"n{number:02}": structure(number % 5)})
            except InputError as error:
                lines.put((str(error), number))
                return


def test_a_store_takes_the_disk_that_it_needs_and_no_more(folder: Path) -> None:
    assert (folder / "data.mdb").stat().st_size < 400_000


def set_meta(folder: Path, **changes: object) -> None:
    environment = lmdb.open(str(folder), map_size=2**30, max_dbs=4)
    with environment.begin(write=True) as transaction:
        meta = {**json.loads(transaction.get(b"meta")), **changes}
        transaction.put(b"meta", json.dumps(meta).encode())
    environment.close()


def test_a_store_of_a_newer_version_is_neither_read_nor_written(folder: Path) -> None:
    set_meta(folder, version=2, frazil="9.0")
    before = (folder / "data.mdb").read_bytes()
    for opened in (StructureStore, StoreWriter):
        with pytest.raises(InputError, match="newer frazil") as caught:
            opened(folder)
        assert str(folder) in str(caught.value) and "update frazil" in str(caught.value)
    assert (folder / "data.mdb").read_bytes() == before


def test_records_with_other_features_than_these_say_so(folder: Path) -> None:
    tensors = {
        name: getattr(structure(0).features, name) for name in tensor_fields() if name not in ("ref_pos", "plddt")
    }
    content = save({**tensors, "conformers": structure(0).conformers, "colour": torch.zeros(1)})
    with pytest.raises(InputError, match=r"another version of frazil.* differ in colour, plddt"):
        decode(content)


def test_one_store_has_one_number_of_conformers(tmp_path: Path) -> None:
    StoreWriter(tmp_path, num_conformers=2).close()
    StoreWriter(tmp_path, num_conformers=2).close()
    StoreWriter(tmp_path).close()
    with pytest.raises(InputError, match="prepared with 2 conformers a ligand, not 3"):
        StoreWriter(tmp_path, num_conformers=3)


def test_refusals_are_kept_until_the_entry_is_stored(folder: Path) -> None:
    origin = "/" + "very long path/" * 80 + "file.sdf:7"
    with StoreWriter(folder) as writer:
        writer.put({}, [Refusal("x", origin, "flat"), Refusal("y", "y.sdf:1", "9 atoms", 9)])
        assert [refusal.name for refusal in writer.refusals()] == ["x", "y"]
        writer.add({"x": replace(structure(0), origin=origin)})
    with StoreWriter(folder) as writer:
        assert writer.refusals() == (Refusal("y", "y.sdf:1", "9 atoms", 9),)
        assert origin in writer.origins()


@pytest.mark.parametrize("case", ["nothing", "empty folder", "other files", "no database", "other database"])
def test_what_is_no_store_is_one_line(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x"
    if case != "nothing":
        path.mkdir()
    if case == "other files":
        (path / "letter.txt").write_text("Dear reader")
    elif case == "no database":
        (path / "data.mdb").write_bytes(b"Dear reader" * 1000)
    elif case == "other database":
        with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"key", b"value")
    assert is_store(path) == case.endswith("database")
    with pytest.raises(InputError) as caught:
        StructureStore(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.exists() == (case != "nothing")
    if case.endswith("database"):
        with pytest.raises(InputError, match=str(path)):
            StoreWriter(path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="name another folder"):
            StoreWriter(path)


def test_a_changed_byte_of_a_record_is_found(folder: Path) -> None:
    content = (folder / "data.mdb").read_bytes()
    coords = structure(1).features.coords.numpy().tobytes()
    changed = coords[:5] + bytes([coords[5] ^ 1]) + coords[6:]
    (folder / "data.mdb").write_bytes(content.replace(coords, changed))
    store = StructureStore(folder)
    assert_same(store[0], structure(0))
    with pytest.raises(InputError, match=r"store: the record b is damaged"):
        store[1]


def test_no_lost_page_and_no_cut_kills_a_reader_or_a_writer(folder: Path, tmp_path: Path) -> None:
    content = (folder / "data.mdb").read_bytes()
    damaged = []
    for page in range(len(content) // 4096):
        start = page * 4096
        versions = {"lost": content[:start] + bytes(4096) + content[start + 4096 :], "cut": content[: start + 17]}
        for kind, damage in versions.items():
            copy = tmp_path / f"{kind}{page}"
            copy.mkdir()
            (copy / "data.mdb").write_bytes(damage)
            damaged.append(str(copy))
    with FORK.Pool(1) as pool:
        lines = pool.map_async(_what_is_told, damaged).get(300)
    told = dict(zip(damaged, lines, strict=True))
    assert all(line != "whole" for path, line in told.items() if "cut" in Path(path).name)
    assert all(line == "whole" or path in line for path, line in told.items())
    assert 0 < sum(line == "whole" for line in lines) < len(lines) / 4


def _what_is_told(folder: str) -> str:
    """Of a store that may be damaged; a process that this kills gives no answer."""
    try:
        with StoreWriter(folder) as writer:
            writer.origins()
            writer.refusals()
    except InputError:
        pass
    try:
        store = StructureStore(folder)
        for index in range(len(store)):
            store[index]
    except InputError as error:
        return str(error)
    return "whole"


def test_a_copy_of_the_one_file_is_a_store(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(folder / "data.mdb", tmp_path / "copy")
    assert_same(StructureStore(tmp_path / "copy")[2], structure(2))


def test_one_process_writes_what_it_has_read_and_reads_what_it_has_written(folder: Path) -> None:
    for number in range(3):
        count = len(StructureStore(folder))
        with StoreWriter(folder) as writer:
            writer.add({f"more {number}": structure(0)})
        assert len(StructureStore(folder)) == count + 1


def test_many_processes_read_at_once(folder: Path) -> None:
    with FORK.Pool(8) as pool:
        tasks = [(StructureStore(folder), index % 3) for index in range(64)]
        assert len(pool.map(_encoded, tasks, chunksize=1)) == 64
