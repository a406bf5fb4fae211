"""The static site: whole, checked, right on any host; and clear words where it cannot be written."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import mimetypes
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from moebius.cli import moebius
from moebius.cli.export import export
from moebius.errors import DeviceError, DownloadError, OutputError, SettingsError
from moebius.export import web, web_runtime
from moebius.export.web import export_web
from moebius.export.web_model import SETTINGS, web_settings
from moebius.export.web_runtime import FILES, fetch_runtime
from moebius.settings import RANGES, Settings
from moebius.weights import open_model

HOSTS_KNOW = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".txt": "text/plain",
    ".bin": "application/octet-stream",
}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with the right files and nothing in them that runs."""
    folder = tmp_path_factory.mktemp("onnxruntime-web")
    (folder / "dist").mkdir()
    (folder / "package.json").write_text(json.dumps({"version": web_runtime.VERSION}))
    for script, binary in FILES.values():
        (folder / "dist" / script).write_text(f"// {script}")
        (folder / "dist" / binary).write_bytes(binary.encode() * 1000)
    return folder


@pytest.fixture(scope="module")
def site(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> web.WebSite:
    return export_web(tmp_path_factory.mktemp("sites") / "site", runtime=runtime)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(site: web.WebSite) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((site.path / "model" / "manifest.json").read_text())
    return values


def assembled(site: web.WebSite, asset: dict[str, Any]) -> bytes:
    parts = []
    for shard in asset["shards"]:
        parts.append((site.path / shard["path"]).read_bytes())
        assert (len(parts[-1]), hashlib.sha256(parts[-1]).hexdigest()) == (shard["bytes"], shard["sha256"])
        assert len(parts[-1]) <= 16 << 20
    whole = b"".join(parts)
    return gzip.decompress(whole) if asset["packed"] else whole


def test_shards_hold_the_model_and_the_runtime(site: web.WebSite, runtime: Path) -> None:
    manifest, folder = manifest_of(site), open_model("nano")
    for name in ("encoder.onnx", "denoiser.onnx", "decoder.onnx", "weights.safetensors"):
        found = assembled(site, manifest["assets"][name])
        assert found == (folder.path / name).read_bytes() and len(found) == manifest["assets"][name]["bytes"]
    assert (
        not manifest["assets"]["weights.safetensors"]["packed"]
        and manifest["assets"]["denoiser.onnx"]["packed"]
    )
    for device, entry in manifest["runtimes"].items():
        script, binary = FILES[device]
        assert (
            assembled(site, manifest["assets"][entry["binary"]]) == (runtime / "dist" / binary).read_bytes()
        )
        assert (site.path / entry["script"]).read_bytes() == (runtime / "dist" / script).read_bytes()
    assert manifest["hash"] == folder.hash and manifest["model"]["cascade"] == [256]
    assert all(len(manifest["check"][name]) == 64 for name in ("latents", "prediction", "image"))


def test_the_page_is_the_page_with_another_engine(site: web.WebSite) -> None:
    files = contents(site.path)
    index = files["index.html"].decode()
    assert index.count('<meta name="moebius-engine" content="browser">') == 1
    assert index.count('rel="manifest"') == 1 and "Content-Security-Policy" in index
    for name, content in files.items():
        if name.startswith("page/") or name == "manifest.webmanifest":
            assert content == (web.FOLDER / name.removeprefix("page/")).read_bytes()
    assert not any(name.endswith((".py", "tsconfig.json")) for name in files)


def test_the_service_worker_knows_the_small_files(site: web.WebSite) -> None:
    text = (site.path / "service_worker.js").read_text()
    found = re.match(r"self\.MOEBIUS_SITE = (\{.*\});\n", text)
    assert found is not None
    known = json.loads(found[1])
    small = {
        name
        for name in contents(site.path)
        if not name.endswith((".bin", ".txt")) and name != "service_worker.js"
    }
    assert set(known["files"]) == small | {"./"} and known["version"] == site.version


def test_every_host_serves_it_as_it_should_be(site: web.WebSite) -> None:
    """No .mjs and no .wasm, of which hosts have strange ideas; nothing that begins with a slash or leads elsewhere."""
    for name, content in contents(site.path).items():
        suffix = Path(name).suffix
        if suffix != ".webmanifest":
            assert suffix in HOSTS_KNOW, name
            assert mimetypes.guess_type(name)[0] in (HOSTS_KNOW[suffix], "application/javascript")
        if suffix in (".html", ".webmanifest", ".json"):
            assert not re.search(
                r'(?:href|src|start_url|path|script)"?[=:] ?"(?:/|https?:)', content.decode()
            ), name


def test_weights_add_up(site: web.WebSite) -> None:
    files = contents(site.path)
    rest = len(files["LICENSES.txt"]) + len(files["service_worker.js"].split(b"\n", 1)[0]) + 1
    assert sum(site.weights.values()) + rest == sum(map(len, files.values()))
    assert (
        "MIT License" in files["LICENSES.txt"].decode()
        and web_runtime.VERSION in files["LICENSES.txt"].decode()
    )


def test_the_same_again(site: web.WebSite, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(site.path)
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        export_web(site.path, runtime=runtime)
    assert export_web(site.path, runtime=runtime, overwrite=True) == site
    assert contents(site.path) == before

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        export_web(site.path, runtime=runtime, overwrite=True)
    assert contents(site.path) == before
    assert list(site.path.parent.iterdir()) == [site.path]


def test_places_that_are_refused(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("")
    for target, overwrite, message in (
        ("file", False, "expected a folder to write, got a file"),
        ("none/site", False, "expected an existing folder to write into"),
        ("letters", False, "expected a new or empty folder"),
        ("letters", True, "expected an earlier site to replace"),
    ):
        with pytest.raises(OutputError, match=message):
            export_web(tmp_path / target, runtime=runtime, overwrite=overwrite)
    assert sorted(contents(tmp_path)) == ["file", "letters/dear.txt"]


def test_a_model_without_graphs(tmp_path: Path, runtime: Path) -> None:
    nano = open_model("nano").path
    values = json.loads((nano / "model.json").read_text())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text(json.dumps({**values, "checksums": {}}))
    (tmp_path / "model" / "weights.safetensors").symlink_to(nano / "weights.safetensors")
    with pytest.raises(DeviceError, match=r"has no encoder\.onnx"):
        export_web(tmp_path / "site", model=tmp_path / "model", runtime=runtime)
    assert not (tmp_path / "site").exists()


def test_settings_are_those_of_the_library() -> None:
    defaults = Settings().to_dict()
    for name, entry in web_settings().items():
        assert entry["default"] == defaults[name] and entry["help"]
        assert entry.get("nullable", False) == (defaults[name] is None)
        if "choices" in entry:
            assert set(entry["choices"]) == set(RANGES[name].to_dict()["choices"]) - {"official"}
            continue
        for bound in (entry["minimum"], entry["maximum"]):
            assert getattr(Settings(**{name: bound}), name) == bound
        step = 1 if entry["type"] == "integer" else 0.01
        for beyond in (entry["minimum"] - step, entry["maximum"] + step):
            with pytest.raises(SettingsError):
                Settings(**{name: beyond})
    assert list(web_settings()) == list(SETTINGS)


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    npm = folder / "npm"
    npm.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n{body}\n")
    npm.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(npm) if name == "npm" else None)


def test_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(
        DownloadError, match=r"expected npm to fetch onnxruntime-web .* found none: install Node.js, or"
    ):
        fetch_runtime()
    fake_npm(tmp_path, monkeypatch, "print('npm error code ENOTFOUND', file=sys.stderr); sys.exit(1)")
    with pytest.raises(
        DownloadError, match=r"npm could not fetch onnxruntime-web 1.30.0: npm error code ENOTFOUND"
    ):
        fetch_runtime()
    fake_npm(tmp_path, monkeypatch, "Path(sys.argv[-1], 'other.tgz').write_bytes(b'something else')")
    with pytest.raises(DownloadError, match=r"other\.tgz: expected onnxruntime-web 1.30.0 with sha512-q0y"):
        fetch_runtime()


def test_runtimes_that_are_none(tmp_path: Path, runtime: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(runtime, "package")
    assert fetch_runtime(archive) == fetch_runtime(runtime)
    assert "it is used as it is" in caplog.text, "not the archive that was tested"
    with tarfile.open(archive, "w:gz") as packed:
        escape = tarfile.TarInfo("package/../../outside")
        packed.addfile(escape, io.BytesIO())
    (tmp_path / "text.tgz").write_text("no archive")
    for source, message in (
        (tmp_path / "nowhere", "expected a folder or a .tgz of onnxruntime-web"),
        (tmp_path, "expected onnxruntime-web with dist/ort.wasm.bundle.min.mjs, found none"),
        (tmp_path / "text.tgz", "expected a .tgz of onnxruntime-web"),
        (archive, "expected onnxruntime-web with dist/ort.wasm.bundle.min.mjs, found none"),
    ):
        with pytest.raises(SettingsError, match=message):
            fetch_runtime(source)


def test_the_command(tmp_path: Path, runtime: Path) -> None:
    arguments = ["export", "web", str(tmp_path / "site"), "--runtime", str(runtime)]
    done = CliRunner().invoke(moebius, [*arguments, "--json"])
    report = json.loads(done.stdout)
    assert (report["model"], report["runtime"]) == ("nano", web_runtime.VERSION)
    assert set(report["bytes"]) == {"page", "model", "scripts", "wasm", "webgpu"}
    done = CliRunner().invoke(moebius, [*arguments, "--overwrite"])
    assert f"version {report['version']}" in done.stdout and "MB  model nano" in done.stdout
    done = CliRunner().invoke(moebius, arguments)
    assert isinstance(done.exception, OutputError)
    assert "web" in CliRunner().invoke(export, ["--help"]).stdout
