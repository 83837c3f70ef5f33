"""``make gpu-bundle`` and what unpacks it: which wheels, in which parts, and what is refused on the other side."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gpu import BundleError, bundle, manifest, unpack, wheels
from tests.gpu.bundle import write_parts
from tests.gpu.manifest import MANIFEST, cut, read_manifest
from tests.gpu.wheels import Target, lacking, read_list, requirements

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
IMAGE = (ROOT / "tests" / "gpu" / "image-cuda.txt").read_text(encoding="utf-8")


def needs(**packages: list[str]) -> Any:
    """What packages of these names require; others require nothing that is known."""

    def requires(name: str) -> list[str]:
        if name not in packages:
            raise metadata.PackageNotFoundError(name)
        return packages[name]

    return requires


def test_what_is_there_is_left_out_and_what_it_needs_with_it() -> None:
    requires = needs(a=["b", "c>=2"], b=["d"], c=[], d=[])
    assert lacking(["a"], {}, Target(), requires) == ["a", "b", "c", "d"]
    assert lacking(["a"], {"b": None}, Target(), requires) == ["a", "c"]
    assert lacking(["a"], {"b": "1", "c": "2.1"}, Target(), requires) == ["a"]
    assert lacking(["a"], {"a": "1"}, Target(), requires) == []


def test_what_is_there_but_too_old_travels() -> None:
    requires = needs(a=["c>=2"], c=[])
    assert lacking(["a"], {"c": "1.9"}, Target(), requires) == ["a", "c"]


def test_markers_are_the_targets() -> None:
    requires = needs(a=["new; python_version >= '3.12'", "win; sys_platform == 'win32'", "x; extra == 'more'"], new=[])
    assert lacking(["a"], {}, Target(python="3.12"), requires) == ["a", "new"]
    assert lacking(["a"], {}, Target(python="3.11"), requires) == ["a"]


def test_extras_are_followed_even_where_the_package_is_there() -> None:
    requires = needs(a=["b[more]"], b=["plain", "x; extra == 'more'"], x=[])
    assert lacking(["a"], {"b": "1"}, Target(), requires) == ["a", "x"]


def test_torch_comes_with_the_image_or_not_at_all() -> None:
    assert lacking(["torch>=2.11"], {"torch": "2.11.0"}, Target()) == []
    with pytest.raises(BundleError, match=r"the image has torch 2\.10, torch>=2\.11 is needed.*--have FILE"):
        lacking(["torch>=2.11"], {"torch": "2.10"}, Target())
    with pytest.raises(BundleError, match=r"the image has no triton"):
        lacking(["triton"], {}, Target())


def test_what_the_default_image_lacks_is_pinned_and_small() -> None:
    """From pyproject.toml as it is; torch's and triton's own bounds are another test's."""
    stated = [line for line in requirements(PYPROJECT) if not line.startswith(("torch", "triton", "transformers"))]
    found = lacking(stated, read_list(IMAGE), Target())
    assert {"bitsandbytes", "platformdirs", "gguf", "memray", "pytest", "optimum-quanto"} <= set(found)
    assert not {"torch", "transformers", "scipy", "matplotlib", "numpy", "playwright", "ruff", "mypy"} & set(found)
    pins = wheels.pinned(found, (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert all("==" in pin for pin in pins)


def test_a_package_without_a_pin_is_named() -> None:
    with pytest.raises(BundleError, match="no version of b: add the line name==version"):
        wheels.pinned(["a", "b"], "a==1\n# b==2\n")


def test_a_list_that_is_none_is_refused() -> None:
    assert read_list("A_b==1.0  # why\n\nc\n") == {"a-b": "1.0", "c": None}
    with pytest.raises(BundleError, match="not a package: 'torch >= 2'"):
        read_list("torch >= 2")


def test_platform_tags_go_down_to_the_oldest() -> None:
    tags = Target(platform="manylinux_2_18_aarch64").platforms
    assert tags[:3] == ["manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert tags[-2:] == ["manylinux_2_5_aarch64", "manylinux1_aarch64"]
    with pytest.raises(BundleError, match="--platform: got 'linux_x86_64', expected manylinux_2_MINOR_MACHINE"):
        _ = Target(platform="linux_x86_64").platforms


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def test_bitsandbytes_keeps_one_cuda_version_and_the_cpu(tmp_path: Path) -> None:
    names = [f"bitsandbytes/libbitsandbytes_{one}.so" for one in ("cuda118", "cuda130", "cpu")]
    record = "".join(f"{name},sha256=x,1\n" for name in [*names, "bitsandbytes/__init__.py"])
    whole = wheel(
        tmp_path / "bitsandbytes-1-py3-none-any.whl",
        dict.fromkeys([*names, "bitsandbytes/__init__.py"], b"x")
        | {"bitsandbytes-1.dist-info/RECORD": record.encode()},
    )
    wheels.reduce_bitsandbytes(whole, tmp_path / "small.whl", "130")
    with zipfile.ZipFile(tmp_path / "small.whl") as small:
        assert {Path(name).name for name in small.namelist()} == {
            "libbitsandbytes_cuda130.so",
            "libbitsandbytes_cpu.so",
            "__init__.py",
            "RECORD",
        }
        assert b"cuda118" not in small.read("bitsandbytes-1.dist-info/RECORD")
        assert b"cuda130" in small.read("bitsandbytes-1.dist-info/RECORD")
    with pytest.raises(BundleError, match=r"--cuda: .* has no library for 999; it has 118, 130"):
        wheels.reduce_bitsandbytes(whole, tmp_path / "none.whl", "999")


def test_a_prebuilt_flash_attn_becomes_a_wheel_that_pip_installs(tmp_path: Path) -> None:
    built, target = tmp_path / "built", Target(python=f"{sys.version_info[0]}.{sys.version_info[1]}")
    (built / "flash_attn").mkdir(parents=True)
    (built / "flash_attn" / "__init__.py").write_text('__version__ = "2.8.3.post2"\n')
    with pytest.raises(BundleError, match="neither a wheel nor a folder"):
        bundle.flash_attn_wheel(built, tmp_path, target)
    (built / "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so").write_bytes(b"elf")
    made = bundle.flash_attn_wheel(built, tmp_path, target)
    assert bundle.flash_attn_wheel(made, built, target).name == made.name
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(site)]
    subprocess.run([*command, str(made)], check=True)
    (found,) = metadata.distributions(path=[str(site)])
    assert (found.metadata["Name"], found.version) == ("flash-attn", "2.8.3.post2")
    assert (site / "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so").read_bytes() == b"elf"


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 40))
def test_pieces_make_the_files_and_fill_the_parts(sizes: list[int], room: int) -> None:
    pieces = cut([(f"f{number}", size) for number, size in enumerate(sizes)], room)
    filled: dict[int, int] = {}
    for size, its in zip(sizes, pieces, strict=True):
        assert sum(piece.size for piece in its) == size
        assert [piece.start for piece in its] == [sum(p.size for p in its[:n]) for n in range(len(its))]
        for piece in its:
            filled[piece.part] = filled.get(piece.part, 0) + piece.size
    assert all(size <= room for size in filled.values())
    full = [size for part, size in sorted(filled.items())][:-1]
    assert all(size == room for size in full)  # none begins before the one before it is full
    names = [(piece.part, piece.name) for its in pieces for piece in its]
    assert len(set(names)) == len(names)


def test_a_part_without_room_is_refused() -> None:
    with pytest.raises(BundleError, match="--part-mib: got too little"):
        cut([("a", 1)], 0)


def small_wheel(folder: Path, name: str) -> Path:
    info = f"{name}-1.0.dist-info"
    return wheel(
        folder / f"{name}-1.0-py3-none-any.whl",
        {
            f"{name}.py": b"VALUE = 1\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n".encode(),
        },
    )


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A bundle of one wheel and a large file, in two parts."""
    made = tmp_path / "made"
    made.mkdir()
    large = made / "large.bin"
    large.write_bytes(os.urandom(150_000))
    folder = tmp_path / ".gpu"
    write_parts(
        [small_wheel(made, "tiny_package"), large], folder, bundle.MANIFEST_BYTES + 100_000, Target(), "abc1234"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["part1", "part2"]
    return folder


def test_parts_that_come_one_at_a_time_make_the_files(parts: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    second = tmp_path / "second"
    second.mkdir()
    shutil.move(parts / "part2", second / "part2")
    assert unpack.unpack(parts, keep) == ["large.bin"]
    site = unpack.install(keep)
    assert (site / "tiny_package.py").read_text() == "VALUE = 1\n"
    assert unpack.unpack(second, keep) == []
    assert (keep / "files" / "large.bin").read_bytes() == (tmp_path / "made" / "large.bin").read_bytes()
    assert unpack.commit_of(second, keep) == unpack.commit_of(tmp_path, keep) == "abc1234"
    assert not list((keep / "pieces").iterdir())


def test_what_is_installed_is_not_installed_again(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack.unpack(parts, tmp_path / "keep")
    unpack.install(tmp_path / "keep")
    monkeypatch.setattr(unpack.subprocess, "run", lambda *_, **__: pytest.fail("pip ran again"))
    unpack.install(tmp_path / "keep")


def test_another_bundle_replaces_what_was_kept(parts: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    unpack.unpack(parts, keep)
    unpack.install(keep)
    write_parts([small_wheel(tmp_path, "other_package")], parts, 1 << 20, Target(), "def5678")
    unpack.unpack(parts, keep)
    site = unpack.install(keep)
    assert sorted(path.name for path in site.glob("*.py")) == ["other_package.py"]
    assert unpack.kept_manifest(keep).commit == "def5678"


def test_a_damaged_piece_is_noticed(parts: Path, tmp_path: Path) -> None:
    piece = next(path for path in (parts / "part2").iterdir() if path.name != MANIFEST)
    piece.write_bytes(b"x" + piece.read_bytes()[1:])
    with pytest.raises(BundleError, match=r"large\.bin has sha256 .*: carry the bundle again"):
        unpack.unpack(parts, tmp_path / "keep")
    assert not (tmp_path / "keep" / "files" / "large.bin").exists()


def test_parts_of_two_bundles_are_refused(parts: Path, tmp_path: Path) -> None:
    text = (parts / "part2" / MANIFEST).read_text()
    (parts / "part2" / MANIFEST).write_text(text.replace("abc1234", "def5678"))
    with pytest.raises(BundleError, match="are of different bundles"):
        unpack.unpack(parts, tmp_path / "keep")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.update(schema=9), "schema: got 9, expected 1"),
        (lambda data: data["files"][0].update(name="../evil"), "not a file's name: '../evil'"),
        (lambda data: data["files"][0]["pieces"][0].update(start=5), "its pieces do not make the file"),
        (lambda data: data.pop("commit"), "field 'commit' is missing"),
    ],
    ids=["schema", "name", "pieces", "commit"],
)
def test_a_foreign_manifest_is_refused(parts: Path, change: Any, said: str) -> None:
    path = parts / "part1" / MANIFEST
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match=f"is no bundle's manifest: .*{said}.*make gpu-bundle"):
        read_manifest(path)


def test_without_a_part_the_error_says_where_it_was_expected(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no part of a bundle in .*expected .*part1/bundle\.json"):
        unpack.unpack(tmp_path, tmp_path / "keep")
    with pytest.raises(BundleError, match="run stage 1 with --from-bundle first"):
        unpack.kept_manifest(tmp_path / "keep")


def test_a_wheel_in_a_part_that_is_missing_is_named(parts: Path, tmp_path: Path) -> None:
    write_parts([tmp_path / "made" / "large.bin", small_wheel(tmp_path, "late")], parts, 165_600, Target(), "abc1234")
    shutil.rmtree(parts / "part2")
    unpack.unpack(parts, tmp_path / "keep")
    with pytest.raises(BundleError, match=r"late-1\.0-py3-none-any\.whl not unpacked: carry the part"):
        unpack.install(tmp_path / "keep")


def test_what_unpacks_needs_nothing_but_python() -> None:
    """Nothing is installed yet when it runs."""
    code = "import sys; sys.path.insert(0, '.'); import tests.gpu.unpack, tests.gpu_evidence; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not {"packaging", "pytest", "platformdirs", "torch", "numpy"} & loaded
    assert not loaded - set(sys.stdlib_module_names) - {"tests", "__main__"}


def test_a_bundle_needs_a_commit(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no git checkout, and results need a commit"):
        bundle.commit_of(tmp_path)


def test_the_command_says_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def failing(options: argparse.Namespace) -> manifest.Manifest:
        raise BundleError("no index here")

    monkeypatch.setattr(bundle, "build", failing)
    assert bundle.main(["--folder", str(tmp_path)]) == 1
    assert "no bundle: no index here" in capsys.readouterr().err
