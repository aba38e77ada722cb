"""docker_create_work's words and the files it writes (spec 05 E2, 07 sections 4 and 7.1)."""
from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock.errors import InputError
from boincdock.jobs.docker_job import (
    ContainerInput,
    DockerJob,
    check_image,
    check_job_name,
    dockerfile,
    input_destination,
    input_template,
    job_toml,
    parse_env,
    parse_size,
    slot_names,
)
from boincdock.jobs.docker_run import parse_options
from boincdock.protocol.templates import parse_input_template

ARCHIVE = {"src": "/root/shared/results", "dst": "results.tgz", "stdout": "stdout.txt", "stderr": "stderr.txt"}


def test_hello() -> None:
    options = parse_options(["python:alpine", "python", "-c", "print('Hello BOINC')"])
    assert options.words == ["python:alpine", "python", "-c", "print('Hello BOINC')"]
    job = DockerJob(image="python:alpine", command=tuple(options.words[1:]))
    assert dockerfile(job) == "FROM python:alpine\n"
    assert tomllib.loads(job_toml(job)) == {"command": ["python", "-c", "print('Hello BOINC')"],
                                            "results_archive": ARCHIVE}


def test_options_stop_at_the_image() -> None:
    options = parse_options(["--name=j-1", "-e", "A=b c", "-e", "B=", "--rm", "-stdin_files", "--input-tar", "-",
                             "--json", "-w", "/w", "debian", "--name", "x", "-e"])
    assert options.values == {"name": "j-1", "input_tar": "-", "workdir": "/w"}
    assert options.env == ["A=b c", "B="] and options.switches == {"rm", "stdin_files", "json"}
    assert options.words == ["debian", "--name", "x", "-e"]
    assert parse_options(["--", "-x"]).words == ["-x"]


@pytest.mark.parametrize(("argv", "words"), [
    (["-v", "/a:/b", "debian"], "not possible"), (["-it", "debian"], "not possible"), (["--frob", "debian"], "unknown"),
    (["--name"], "needs a value"), (["--privileged", "debian"], "not possible"), (["--rm=3", "d"], "unknown"),
])
def test_bad_words(argv: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_options(argv)


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), max_size=6),
       st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True),
                       st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))))
def test_any_words_survive_quoting(words: list[str], env: dict[str, str]) -> None:
    table = tomllib.loads(job_toml(DockerJob(image="a", command=tuple(words), env=tuple(env.items()))))
    assert table["command"] == words
    assert table.get("env", {}) == env


def test_everything_in_job_toml() -> None:
    job = DockerJob(image="debian", entrypoint="", workdir="/w x", user="0:0", shm_size=1 << 26, memory=1 << 29,
                    cpus=0.5, network=False, use_gpu=True, inputs=(ContainerInput(destination="/root/shared/a.txt"),
                                                         ContainerInput(destination="/etc/A.TXT", executable=True)))
    assert tomllib.loads(job_toml(job)) == {
        "entrypoint": [], "create_args": ["--workdir=/w x", "--user=0:0", "--shm-size=67108864", "--cpus=0.5"],
        "memory_limit": 536870912, "network": False, "use_gpu": True, "results_archive": ARCHIVE,
        "copy_to_container": [{"src": "a.txt", "dst": "/root/shared/a.txt"}, {"src": "in_1", "dst": "/etc/A.TXT"}]}
    template = parse_input_template(input_template(job))
    assert [ref.open_name for ref in template.refs] == ["Dockerfile", "job.toml", "a.txt", "in_1"]
    assert all(info.no_delete for info in template.files)
    assert ["<executable/>" in info.passthrough for info in template.files] == [False, False, False, True]
    assert tomllib.loads(job_toml(DockerJob(image="d", entrypoint="sh")))["entrypoint"] == ["sh"]


def test_slot_names_never_hit_the_runtime() -> None:
    inputs = [ContainerInput(destination=f"/root/shared/{name}") for name in
              ("init_data.xml", "DOCKERFILE", "boinc_x", "x y", "ok.txt", "sub/ok.txt", "in_0")]
    assert slot_names(inputs) == ["in_0", "in_1", "in_2", "in_3", "ok.txt", "in_5", "in_6"]


def test_own_dockerfile() -> None:
    assert dockerfile(DockerJob(dockerfile="FROM a\nCOPY x /x")) == "FROM a\nCOPY x /x\n"
    for bad in ("RUN x", "FROM a\0"):
        with pytest.raises(InputError):
            dockerfile(DockerJob(dockerfile=bad))


@pytest.mark.parametrize("image", ["debian", "debian:trixie-slim", "python:alpine", "ghcr.io/org/name:1.0",
                                   "localhost:5000/a/b_c@sha256:" + "a" * 64, "a__b"])
def test_images(image: str) -> None:
    assert check_image(image) == image


@pytest.mark.parametrize("image", ["", "-v", "a b", "A", "a:b:c", "a\nRUN x", "a$X", "../a", "a@sha256:12", "http://a"])
def test_no_images(image: str) -> None:
    with pytest.raises(InputError):
        check_image(image)


def test_job_names() -> None:
    for good in ("docker_12_1700000000.123456", "a", "a__b", "a---b", "1.2"):
        assert check_job_name(good) == good
    for bad in ("", "A", "a_", "_a", "a..b", "a___b", "a.-b", "x" * 151, "a b"):
        with pytest.raises(InputError):
            check_job_name(bad)


def test_sizes_and_env() -> None:
    assert [parse_size(t, "memory") for t in ("512m", "2G", "10000000", "1.5g", "6mb")] == \
        [512 << 20, 2 << 30, 10_000_000, 3 << 29, 6 << 20]
    for bad in ("", "1m", "abc", "-5g", "1e9", "99999999g"):
        with pytest.raises(InputError):
            parse_size(bad, "memory")
    assert parse_env(["A=1", "B=x=y", "A=2"]) == {"A": "2", "B": "x=y"}
    for bad in ("A", "=x", "A-B=1"):
        with pytest.raises(InputError):
            parse_env([bad])


def test_input_destinations() -> None:
    assert input_destination("a/b.txt") == "/root/shared/a/b.txt" and input_destination("/data/x") == "/data/x"
    for bad in ("", "../x", "a/../b", "/a/../b", "/", "results/x", "a//b", "x\n", "dir/"):
        with pytest.raises(InputError):
            input_destination(bad)
