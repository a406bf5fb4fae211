"""The files in deploy/ name ports, paths, options and limits: each of them has to be the program's own."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest

pytest.importorskip("fastapi", reason="needs moebius-inpaint[serve]")
yaml = pytest.importorskip("yaml")

from moebius.cli.serve import serve  # noqa: E402
from moebius.serve import Limits, WorkerOptions  # noqa: E402
from moebius.serve.app import create_app  # noqa: E402
from moebius.serve.middleware import OPEN_PATHS  # noqa: E402
from moebius.serve.run import FETCH_SECONDS  # noqa: E402
from moebius.weights import cache  # noqa: E402

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = (DEPLOY / "docker" / "Dockerfile", DEPLOY / "docker" / "Dockerfile.cuda")
PORT = 8080


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, each on one line: name and the rest."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def the(path: Path, name: str) -> str:
    """The last instruction of that name."""
    return [rest for each, rest in instructions(path) if each == name][-1]


def variables(path: Path) -> dict[str, str]:
    """ENV of the image that is made in the end."""
    return dict(word.partition("=")[::2] for word in the(path, "ENV").split())


def parse(words: list[str]) -> dict[str, Any]:
    """Options of `moebius serve`, as the program itself reads them.

    Raises:
        click.ClickException: there is no such option, or it does not take that value.
    """
    return serve.make_context("serve", list(words), resilient_parsing=False).params


def routes() -> set[str]:
    """Addresses that the server answers."""
    found: set[str] = set()
    for path in create_app([WorkerOptions("nano")]).openapi()["paths"]:
        found.add(path)
    return found


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def manifests() -> dict[str, dict[str, Any]]:
    """Kubernetes' objects by kind."""
    loaded = yaml.safe_load_all((DEPLOY / "kubernetes" / "moebius.yaml").read_text())
    return {each["kind"]: each for each in loaded}


def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifests()["Deployment"]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_start_a_server_that_can_be_reached(path: Path) -> None:
    words = json.loads(the(path, "ENTRYPOINT"))
    assert words[:2] == ["moebius", "serve"]
    options = parse(words[2:])
    assert (options["host"], options["port"]) == ("0.0.0.0", PORT) == ("0.0.0.0", int(the(path, "EXPOSE")))
    health = re.search(rf"http://127\.0\.0\.1:{PORT}(/\w+)", the(path, "HEALTHCHECK"))
    assert health is not None and health[1] in routes() and health[1] in OPEN_PATHS, (
        "a token is not known there"
    )


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_nobody_in_particular(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = the(path, "USER")
    assert re.fullmatch(r"\d+:\d+", user), "Kubernetes tells by the number that it is not root"
    assert user == f"{pod()['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}"
    for name, value in variables(path).items():
        if name.startswith("MOEBIUS"):
            monkeypatch.setenv(name, value)
    assert str(cache.cache_home()) == the(path, "VOLUME") == "/models"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_made_of_files_that_are_there(path: Path) -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    assert ignored[0] == "*"
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    for name, rest in instructions(path):
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                place = source.removeprefix("./")
                assert (ROOT / place).exists() and any(fnmatch(place, each) for each in let_in), source
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    (asked,) = {
        rest.partition("=")[2] for name, rest in instructions(path) if name == "ARG" and "EXTRAS" in rest
    }
    assert set(asked.split(",")) <= set(extras)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_everything_that_the_wheel_needs_is_let_in(path: Path) -> None:
    """The readme and the licences that pyproject.toml names."""
    copied = " ".join(rest for name, rest in instructions(path) if name == "COPY")
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'^readme = "(.+)"', project, re.MULTILINE)
    named += re.findall(r'"(\w+)"', re.findall(r"^license-files = (.+)", project, re.MULTILINE)[0])
    assert len(named) == 3 and all(name in copied.split() for name in named)


def test_compose_asks_for_what_there_is() -> None:
    services = compose()["services"]
    assert set(services) == {"moebius", "moebius-cuda"}
    for service in services.values():
        parse(service["command"])
        dockerfile = (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve()
        assert dockerfile in DOCKERFILES
        (port,) = service["ports"]
        assert port.startswith("127.0.0.1:") and port.endswith(f":{PORT}"), (
            "not for everybody without a proxy"
        )
        assert service["read_only"] and service["tmpfs"] == ["/tmp"]
        (volume,) = service["volumes"]
        assert volume.partition(":")[0] in compose()["volumes"]
        assert volume.partition(":")[2] == the(dockerfile, "VOLUME")
        path = re.search(r"http://127\.0\.0\.1:8080(/\w+)", " ".join(service["healthcheck"]["test"]))
        assert path is not None and path[1] in OPEN_PATHS
        grace = float(service["stop_grace_period"].removesuffix("s"))
        assert grace > parse(service["command"])["drain_seconds"] + FETCH_SECONDS
        assert set(service["environment"]) == {_token_variable()}
    assert services["moebius-cuda"]["profiles"] == ["cuda"], "only where it is asked for"


def _token_variable() -> str:
    (option,) = (each for each in serve.params if isinstance(each, click.Option) and each.name == "token")
    assert isinstance(option.envvar, str)
    return option.envvar


def test_kubernetes_probes_and_waits() -> None:
    (container,) = pod()["containers"]
    options = parse(container["args"])
    (port,) = container["ports"]
    assert port["containerPort"] == PORT
    for probe, path in {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}.items():
        asked = container[f"{probe}Probe"]["httpGet"]
        assert asked == {"path": path, "port": port["name"]} and path in routes() and path in OPEN_PATHS
    (first,) = re.findall(r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod()["terminationGracePeriodSeconds"] > int(first) + options["drain_seconds"] + FETCH_SECONDS
    assert [each["name"] for each in container["env"]] == [_token_variable()]
    annotations = manifests()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in routes() and annotations["prometheus.io/port"] == str(PORT)


def test_kubernetes_gives_no_rights() -> None:
    (container,) = pod()["containers"]
    assert pod()["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    assert mounted == {"/tmp", "/models"}, "what is written to where the root is not"
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod()["volumes"]}


def test_kubernetes_objects_find_each_other() -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == pod()["containers"][0]["ports"][0]["name"]
    assert found["Service"]["spec"]["sessionAffinity"] == "ClientIP", "jobs live in one pod"
    scaled = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])


def test_memory_is_enough_for_what_is_asked() -> None:
    """A worker with nano, and what the server may hold, under what the container may have."""
    units = {"Mi": 2**20, "Gi": 2**30}
    limit = pod()["containers"][0]["resources"]["limits"]["memory"]
    assert parse(pod()["containers"][0]["args"])["memory_bytes"] * 4 <= int(limit[:-2]) * units[limit[-2:]]
    service = compose()["services"]["moebius"]
    assert parse(service["command"])["memory_bytes"] * 4 <= int(service["mem_limit"][:-1]) * 2**30


def test_nginx_waits_longer_and_takes_more_than_the_server() -> None:
    text = (DEPLOY / "nginx" / "moebius.conf").read_text()
    said = dict(re.findall(r"^\s*(\w+) ([^;{]+);", text, re.MULTILINE))
    limits = Limits()
    body = int(said["client_max_body_size"].removesuffix("m")) * 2**20
    assert limits.upload_bytes < body <= limits.upload_bytes + 2**20
    assert f"{limits.upload_bytes:,} bytes" in text
    assert int(said["proxy_read_timeout"].removesuffix("s")) > limits.deadline_seconds
    assert int(said["client_body_timeout"].removesuffix("s")) <= limits.idle_seconds
    assert said["proxy_buffering"] == said["proxy_request_buffering"] == "off"
    assert f"127.0.0.1:{PORT}" in text
    ingress = (DEPLOY / "kubernetes" / "moebius.yaml").read_text()
    assert f"proxy-body-size: {said['client_max_body_size']}" in ingress
    assert f'proxy-read-timeout: "{said["proxy_read_timeout"].removesuffix("s")}"' in ingress


def test_options_of_the_page_about_it() -> None:
    """Options that docs/deploy.md names are there, and so are the files."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    known = {name for option in serve.params for name in (*option.opts, *option.secondary_opts)}
    lines = [line for line in text.splitlines() if "moebius serve" in line]
    named = {
        word
        for line in lines
        for word in re.findall(r"(?<![\w-])--[a-z-]+", line.partition("moebius serve")[2])
    }
    assert named and named <= known
    for path in re.findall(r"deploy/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path


def test_the_test_can_fail() -> None:
    with pytest.raises(click.ClickException, match="No such option"):
        parse(["--drains", "30"])
    with pytest.raises(click.ClickException):
        parse(["--max-memory", "512MiB"])
