"""Archives: what is unpacked, and what is refused before it does harm."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from trainer.archives import unpack
from trainer.families.base import DataUnreadable
from trainer.formats import Format, archive_format


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return path


def regular(name: str, size: int = 3) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_known_by_its_content_and_unpacked(tmp_path: Path, mode: str) -> None:
    archive = tarred(tmp_path / "flowers", regular("rose/1.png"), regular("./tulip/1.png"), mode=mode)
    assert archive_format(archive) is Format.TAR
    unpack(archive, Format.TAR, tmp_path / "out")
    assert (tmp_path / "out/rose/1.png").read_bytes() == (tmp_path / "out/tulip/1.png").read_bytes() == b"xxx"


def test_a_zip_is_known_by_its_content_and_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "flowers", **{"rose/": b"", "rose/1.png": b"xxx"})
    assert archive_format(archive) is Format.ZIP
    unpack(archive, Format.ZIP, tmp_path / "out")
    assert (tmp_path / "out/rose/1.png").read_bytes() == b"xxx"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    for archive, kind in (
        (zipped(tmp_path / "a.zip", **{name: b"xxx"}), Format.ZIP),
        (tarred(tmp_path / "a.tar.gz", regular(name)), Format.TAR),
    ):
        with pytest.raises(DataUnreadable, match="leads out of it"):
            unpack(archive, kind, tmp_path / kind.value)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "a.tar.gz", link("way-out", "/etc", kind))
    with pytest.raises(DataUnreadable, match="a link or a device, 'way-out'"):
        unpack(archive, Format.TAR, tmp_path / "out")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("way-out")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    with pytest.raises(DataUnreadable, match="a link or a device, 'way-out'"):
        unpack(tmp_path / "a.zip", Format.ZIP, tmp_path / "out")


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", **{f"{n}.png": bytes(40 << 20) for n in range(3)})
    with pytest.raises(DataUnreadable, match="more than 100 times its size"):
        unpack(archive, Format.ZIP, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 80 << 20


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.zip", **{"a.png": b"x" * 5000}).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataUnreadable, match="The zip archive is broken"):
        unpack(tmp_path / "half.zip", Format.ZIP, tmp_path / "out")
