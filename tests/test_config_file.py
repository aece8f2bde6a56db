"""Tests of `gateway.config_file`."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Config
from gateway.config_file import LoadedConfig, load
from gateway.config_reference import SETTINGS, in_toml, render
from gateway.errors import ConfigurationError, ConfigurationFault

SECRET = "a-secret-of-thirty-two-characters"
WITH_KEY = {"WSDEVICE_AUTH_KEY": SECRET}
HOSTS = "a list of 1 or more addresses or host names, without port or brackets"


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a configuration file."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def _faults_of(path: Path | None = None, **environ: str) -> list[ConfigurationFault]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ)
    return list(caught.value.faults)


def _fault_of(path: Path | None = None, **environ: str) -> ConfigurationFault:
    faults = _faults_of(path, **environ)
    assert len(faults) == 1, faults
    return faults[0]


# --- the ways in ----------------------------------------------------------------------------------------------


def test_nothing_given_is_the_defaults():
    """Without file and environment, all is as in `Config()`, without a warning."""
    assert load(None, {}) == LoadedConfig(Config(), (), {})


def test_file_is_read(file):
    """Values of the file are used, and their lines are told."""
    path = file('# mine\n[server]\nws_port = 9000\nhost = ["127.0.0.1"]\n\n[stats]\naudience = "off"\n')

    loaded = load(path, {})

    assert loaded.config.server.ws_port == 9000
    assert loaded.config.server.host == ["127.0.0.1"]
    assert loaded.config.stats.audience == "off"
    assert loaded.config.server.http_port == Config().server.http_port
    assert loaded.origins == {
        "server.ws_port": f"{path}:3",
        "server.host": f"{path}:4",
        "stats.audience": f"{path}:7",
    }


def test_environment_wins_over_file(file):
    """A variable replaces the value of the file, and is told as its origin."""
    loaded = load(file("[server]\nws_port = 9000\n"), {"WSDEVICE_SERVER_WS_PORT": "9001"})

    assert loaded.config.server.ws_port == 9001
    assert loaded.origins == {"server.ws_port": "environment WSDEVICE_SERVER_WS_PORT"}


def test_byte_order_mark_and_windows_line_ends_are_taken(file):
    """A file as Windows editors write it is read like any other."""
    assert load(file(b"\xef\xbb\xbf[server]\r\nws_port = 1\r\n"), {}).config.server.ws_port == 1


def test_every_default_can_be_written_in_a_file(file):
    """Each setting, written as the reference shows its default, is what it was."""
    sections: dict[str, list[str]] = {}
    for setting in SETTINGS.values():
        if setting.default is not None:
            sections.setdefault(setting.section, []).append(f"{setting.key} = {in_toml(setting.default)}")
    text = "\n".join(line for name, lines in sections.items() for line in (f"[{name}]", *lines))

    assert load(file(text), {}).config == Config()


def test_every_default_can_be_written_in_the_environment():
    """Each setting, written as the reference shows its default, is what it was."""
    environ = {}
    for setting in SETTINGS.values():
        text = "" if setting.default is None else in_toml(setting.default)
        environ[setting.variable] = setting.default if isinstance(setting.default, str) else text

    assert load(None, environ).config == Config()


def test_reference_example_is_a_good_file(file, tmp_path):
    """The example of the reference page has no fault once its key file exists."""
    (tmp_path / "key").write_text(SECRET + "\n")
    example = re.search(r"```toml\n(.*?)```", render(), re.DOTALL)[1]
    assert "/run/credentials" in example

    loaded = load(file(re.sub(r'key_file = "[^"]*"', f'key_file = "{tmp_path / "key"}"', example)), {})

    assert loaded.config.auth.key == SECRET


# --- environment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("SERVER_WS_PORT", " 0 ", "server.ws_port", 0),
        ("SERVER_WS_PORT", "65535", "server.ws_port", 65535),
        ("SERVER_HOST", "127.0.0.1", "server.host", ["127.0.0.1"]),
        ("SERVER_HOST", " 127.0.0.1 , ::1,", "server.host", ["127.0.0.1", "::1"]),
        ("SERVER_HOST", '["localhost", "::1"]', "server.host", ["localhost", "::1"]),
        ("SERVER_ALLOWED_ORIGINS", "", "server.allowed_origins", []),
        ("OTA_IMAGE_DIR", "", "ota.image_dir", ""),
        ("AUTH_QUERY_TOKEN", "true", "auth.query_token", True),
        ("AUTH_QUERY_TOKEN", "False", "auth.query_token", False),
        ("AUTH_ENABLED", "false", "auth.enabled", False),
        ("AUTH_ENABLED", "", "auth.enabled", None),
        ("AUTH_TAKEOVER", "same_client", "auth.takeover", "same_client"),
        ("AUTH_TAKEOVER", "", "auth.takeover", None),
        ("OTA_WEBSOCKET_VERSION", "3", "ota.websocket_version", 3),
        ("OTA_WEBSOCKET_VERSION", "", "ota.websocket_version", None),
        ("PEER_TTL", "60", "peer.ttl", 60.0),
        ("PEER_TTL", "1e3", "peer.ttl", 1000.0),
        ("LOGGING_LEVEL", "DEBUG", "logging.level", "DEBUG"),
        ("MEETING_THREADPOOL_MAX_WORKERS", "8", "meeting.threadpool_max_workers", 8),
    ],
)
def test_variable_is_read_as_its_type(variable, text, name, value):
    """The text of a variable becomes a value of its setting's type."""
    section, key = name.split(".")

    loaded = load(None, {f"WSDEVICE_{variable}": text})

    assert getattr(getattr(loaded.config, section), key) == value
    assert type(getattr(getattr(loaded.config, section), key)) is type(value)


@pytest.mark.parametrize("text", ["1", "0", "yes", "no", "on", "off", "", "t", "truthy"])
def test_truth_in_the_environment_is_true_or_false_only(text):
    """What looks like a truth value in other programs is a fault, not a guess."""
    fault = _fault_of(WSDEVICE_AUTH_QUERY_TOKEN=text)

    assert fault == ConfigurationFault(
        "environment WSDEVICE_AUTH_QUERY_TOKEN", "auth.query_token", "true or false", in_toml(text)
    )


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("SERVER_WS_PORT", "abc", "an integer from 0 to 65535"),
        ("SERVER_WS_PORT", "80.0", "an integer from 0 to 65535"),
        ("SERVER_WS_PORT", "", "an integer from 0 to 65535"),
        ("SERVER_WS_PORT", "9" * 5000, "an integer from 0 to 65535"),
        ("SERVER_HOST", '["::1"', HOSTS),
        ("SERVER_HOST", "[::1]", HOSTS),
        ("SERVER_HOST", "[1]", HOSTS),
        ("SERVER_HOST", "[]", HOSTS),
        ("SERVER_HOST", "", HOSTS),
        ("SERVER_PATHS", "[]", "a list of 1 or more texts"),
        ("STATS_AUDIENCE", "ASKED", "one of 'asked', 'all', 'off'"),
        ("OTA_WEBSOCKET_VERSION", "4", "one of 1, 2, 3"),
        ("PEER_TTL", "soon", "a number above 0"),
    ],
)
def test_variable_that_cannot_be_read_is_a_fault(variable, text, expected):
    """Text that is not of its setting's type is shown as it was found, cut short."""
    fault = _fault_of(**{f"WSDEVICE_{variable}": text})

    assert fault.source == f"environment WSDEVICE_{variable}"
    assert fault.expected == expected
    assert len(fault.found) <= 65


def test_unknown_variable_of_a_section_is_a_fault():
    """A misspelt variable is named, with the one that was probably meant."""
    fault = _fault_of(WSDEVICE_SERVER_WS_PROT="1", WSDEVICE_CONFIG="/etc/wsdevice.toml", PATH="/bin")

    assert str(fault) == (
        "environment WSDEVICE_SERVER_WS_PROT: server.ws_prot: expected a known variable; "
        "did you mean WSDEVICE_SERVER_WS_PORT?"
    )


@pytest.mark.parametrize("service", ["", "HTTP_", "SERVER_"])
def test_variables_of_others_are_left_alone(service):
    """What the pytest plugin reads, and what Kubernetes sets for services named like us, is no business of ours."""
    environ = {
        "WSDEVICE_CONFIG": "gateway.toml",
        "WSDEVICE_TEST_GATEWAY_URL": "ws://x/",
        f"WSDEVICE_{service}SERVICE_HOST": "10.0.0.1",
        f"WSDEVICE_{service}SERVICE_PORT": "8000",
        f"WSDEVICE_{service}SERVICE_PORT_WEBSOCKET": "8000",
        f"WSDEVICE_{service}PORT": "tcp://10.0.0.1:8000",
        f"WSDEVICE_{service}PORT_8000_TCP": "tcp://10.0.0.1:8000",
        f"WSDEVICE_{service}PORT_8000_TCP_PROTO": "tcp",
        f"WSDEVICE_{service}PORT_8000_TCP_PORT": "8000",
        f"WSDEVICE_{service}PORT_8000_TCP_ADDR": "10.0.0.1",
        "wsdevice_server_ws_port": "x",
    }

    assert load(None, environ) == LoadedConfig(Config(), (), {})


@pytest.mark.parametrize(
    ("variable", "key", "meant"),
    [
        ("WSDEVICE_SEVER_WS_PORT", "sever.ws_port", "WSDEVICE_SERVER_WS_PORT"),
        ("WSDEVICE_SERVER_PORT", "server.port", "WSDEVICE_SERVER_WS_PORT"),
        ("WSDEVICE_LOGING_LEVL", "loging.levl", "WSDEVICE_LOGGING_LEVEL"),
        ("WSDEVICE_TESTS_URL", "tests.url", None),
        ("WSDEVICE_NOPE", "nope", None),
        ("WSDEVICE_", "", None),
    ],
)
def test_variable_that_nobody_knows_is_a_fault(variable, key, meant):
    """A variable with our prefix that is nobody's is not ignored: it was meant to set something."""
    expected = "a known variable" + (f"; did you mean {meant}?" if meant else "")

    assert _fault_of(**{variable: "1"}) == ConfigurationFault(f"environment {variable}", key, expected)


# --- faults of a file -----------------------------------------------------------------------------------------


def test_all_faults_are_listed_at_once_in_order(file):
    """Faults of the file, of the environment and of rules between settings come together, each with its place."""
    path = file(
        '[server]\nws_port = -1\nws_prot = 1\nhttp_port = "x"\n'
        "[mailbix]\npath = 1\n"
        "[stats]\nevery = nan\n"
        "[peer]\nretry_first = 31\n"
    )

    faults = _faults_of(path, WSDEVICE_DRAIN_GRACE="-1")

    assert [str(fault) for fault in faults] == [
        f"{path}:2: server.ws_port: expected an integer from 0 to 65535, found -1",
        f"{path}:3: server.ws_prot: expected a known setting; did you mean server.ws_port?",
        f'{path}:4: server.http_port: expected an integer from 0 to 65535, found "x"',
        f"{path}:5: mailbix: expected a known section; did you mean [mailbox]?",
        f"{path}:8: stats.every: expected a number above 0, found NaN",
        "environment WSDEVICE_DRAIN_GRACE: drain.grace: expected a number of 0 or more, found -1.0",
        f"{path}:10: peer.retry_max: expected at least peer.retry_first, which is 31, found 30",
    ]


def test_rule_that_stands_on_a_wrong_value_is_not_checked(file):
    """A value that is a fault already does not bring a second one that would go with it."""
    path = file("[peer]\nretry_first = 31\nretry_max = 'x'\n")

    assert _fault_of(path).key == "peer.retry_max"


@pytest.mark.parametrize(
    ("text", "line", "key", "meant"),
    [
        ("[server]\n\nprots = 1", 3, "server.prots", "server.paths"),
        ("[server]\nlevel = 'DEBUG'", 2, "server.level", "logging.level"),
        ("[server]\nqqqqqq = 1", 2, "server.qqqqqq", ""),
        ("ws_port = 1", 1, "ws_port", "server.ws_port"),
        ("[Server]\nws_port = 1", 1, "Server", "[server]"),
        ("[qqqqqq]", 1, "qqqqqq", ""),
        ("server.ws_prot = 1", 1, "server.ws_prot", "server.ws_port"),
        ("server = {ws_prot = 1}", 1, "server.ws_prot", "server.ws_port"),
    ],
)
def test_unknown_name_in_a_file_is_a_fault(file, text, line, key, meant):
    """An unknown key or section is named with its line and, where there is one, what was probably meant."""
    path = file(text)

    fault = _fault_of(path)

    assert fault.source == f"{path}:{line}"
    assert fault.key == key
    assert fault.expected.partition("; ")[2] == (f"did you mean {meant}?" if meant else "")


@pytest.mark.parametrize("text", ["server = 5", "server = 'secret'", "[[server]]\nws_port = 1", "server = []"])
def test_section_that_is_no_table_is_a_fault(file, text):
    """A section must be a table; what it was instead is not shown."""
    fault = _fault_of(file(text))

    assert (fault.key, fault.expected, fault.found) == ("server", "a section of settings, [server]", "")


def test_bad_toml_is_a_fault_with_its_line(file):
    """A file that is not TOML is told with the parser's words and line."""
    path = file("[server]\nws_port = \nhttp_port = 1\n")

    assert str(_fault_of(path)) == f"{path}:2: file: expected TOML, found Invalid value (at line 2, column 11)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"\xff\xfe", "UTF-8 text"),
        (b"x = " + b"1" * 5000, "TOML"),
        (b"x = " + b"[" * 5000, "TOML"),
        (b"[server", "TOML"),
    ],
)
def test_file_that_cannot_be_parsed_is_a_fault(file, text, expected):
    """Whatever is in the file, the answer is a fault."""
    path = file(text)

    fault = _fault_of(path)

    assert (fault.source, fault.key, fault.expected) == (str(path), "file", expected)


def test_missing_file_is_a_fault(tmp_path):
    """A file that is not there, or is a directory, is told with the system's words."""
    missing = tmp_path / "none.toml"

    assert str(_fault_of(missing)) == f"{missing}: file: expected a readable file, found No such file or directory"
    assert _fault_of(tmp_path).found == "Is a directory"


def test_bad_file_does_not_hide_faults_of_the_environment(tmp_path):
    """Where the file cannot be read, the environment is still checked."""
    assert len(_faults_of(tmp_path / "none.toml", WSDEVICE_SERVER_WS_PORT="x")) == 2


def test_document_with_long_texts_gets_no_line_numbers(file):
    """Lines inside a text of several lines are not taken for settings: no number is better than a wrong one."""
    path = file('[server]\nstate_dir = """\nws_port = 1\n"""\nws_port = -1\n')

    assert _fault_of(path).source == str(path)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("true", "true"),
        ("1.0", "1.0"),
        ("inf", "Infinity"),
        ("{a = 1}", "a section"),
        ("2024-01-01", "a date or time"),
        ("[1]", "[1]"),
        ('"a\\u001b[31mb"', '"a\\u001b[31mb"'),
        ("0x" + "f" * 8000, "a value that is far too large"),
        ('"' + "x" * 200 + '"', '"' + "x" * 63 + "…"),
    ],
)
def test_found_is_printable_and_short(file, value, found):
    """What stood there is shown as in TOML, on one line, cut short."""
    fault = _fault_of(file(f"[server]\nws_port = {value}\n"))

    assert fault.found == found


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["peer.ttl", "handover.window", "workflow.snapshot_on_register_delay_ms"])
def test_numbers_are_finite(file, name, value):
    """NaN and the infinities are faults, in the file and in the environment."""
    section, key = name.split(".")

    assert _fault_of(file(f"[{section}]\n{key} = {value}\n")).key == name
    assert _fault_of(**{SETTINGS[name].variable: value}).key == name


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("server.ws_port", ["0", "65535"], ["-1", "65536", "true", "1.0"]),
        ("peer.ttl", ["0.001", "1"], ["0", "-1", "true"]),
        ("handover.window", ["0", "1.5"], ["1.51", "-0.1"]),
        ("limits.text_bytes", ["1024", "1048576"], ["1023", "1048577"]),
        ("ota.path", ['"/x/"', '"//"'], ['"/x"', '"x/"', '"/"']),
        ("ota.websocket_version", ["1", "3"], ["0", "4", "true", "1.0", '"1"', "0x" + "f" * 8000]),
        ("speech.audio_ahead", ["1", "40"], ["0", "41"]),
    ],
)
def test_ranges_hold_at_and_past_their_edges(file, name, good, bad):
    """The last good value is taken, the first bad one is a fault."""
    section, key = name.split(".")
    for text in good:
        load(file(f"[{section}]\n{key} = {text}\n"), {})
    for text in bad:
        assert _fault_of(file(f"[{section}]\n{key} = {text}\n")).key == name


def test_integers_beyond_64_bits_are_faults(file):
    """A count that no machine could reach is a slip of the hand."""
    assert load(file(f"[mailbox]\ntotal = {2**63 - 1}\n"), {}).config.mailbox.total == 2**63 - 1
    assert _fault_of(file(f"[mailbox]\ntotal = {2**63}\n")).key == "mailbox.total"


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if isinstance(setting.default, list)])
def test_text_is_a_list_of_one(file, name):
    """Where a list is expected, one text in the file will do; not several in one, and not none."""
    section, key = name.split(".")
    taken = load(file(f"[{section}]\n{key} = ['/one/']\n"), WITH_KEY)
    assert load(file(f"[{section}]\n{key} = '/one/'\n"), WITH_KEY) == taken
    for bad in ("", " ", "a, b"):
        assert _fault_of(file(f"[{section}]\n{key} = '{bad}'\n"), **WITH_KEY).expected == SETTINGS[name].expected


def test_broken_array_in_the_environment_is_no_list_of_one():
    """What begins like an array and is none stays a fault."""
    assert _fault_of(WSDEVICE_SERVER_PATHS="[/one/").key == "server.paths"


# --- secrets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[auth]\nkey = 'hunter2hunter'\n",
        "[auth]\nkye = 'hunter2hunter'\n",
        "[auth]\nkey = ['hunter2hunter']\n",
        "[auth]\nkey_file = 'hunter2hunter'\n",
        "auth = 'hunter2hunter'\n",
        "key = 'hunter2hunter'\n",
        "[oath]\nkey = 'hunter2hunter'\n",
        "[auth]\nkey = 'hunter2hunter'\nkey_file = 'hunter2hunter'\n",
        "[auth]\nkey = hunter2hunter\n",
    ],
)
def test_secrets_are_never_shown(file, text):
    """No fault has the secret in it, wherever it was written by mistake."""
    with pytest.raises(ConfigurationError) as caught:
        load(file(text), {"WSDEVICE_AUTH_KYE": "hunter2hunter"})

    assert "hunter2" not in str(caught.value) + repr(caught.value)


# --- values that are mended -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_pool_size_in_range_is_taken(file, workers):
    """1 to 64 threads are as asked, without a warning."""
    loaded = load(file(f"[meeting]\nthreadpool_max_workers = {workers}\n"), {})

    assert loaded.config.meeting.threadpool_max_workers == workers
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    "workers",
    ["true", "false", '"8"', "-1", "0", "65", "1.0", "nan", "[]", "{}", "2024-01-01", "0x" + "f" * 8000, '""'],
)
def test_pool_size_that_makes_no_sense_is_two_with_one_warning(file, workers):
    """Anything but 1 to 64 is taken for 2, and one warning says so."""
    path = file(f"[meeting]\nthreadpool_max_workers = {workers}\n")

    loaded = load(path, {})

    assert loaded.config.meeting.threadpool_max_workers == 2
    assert len(loaded.warnings) == 1
    assert loaded.warnings[0].startswith(
        f"{path}:2: meeting.threadpool_max_workers: expected an integer from 1 to 64, found "
    )
    assert loaded.warnings[0].endswith("; 2 is used")


@pytest.mark.parametrize("workers", ["true", "", "lots", "1.5", "0"])
def test_pool_size_in_the_environment_is_mended_too(workers):
    """The exception holds for the environment as for the file."""
    loaded = load(None, {"WSDEVICE_MEETING_THREADPOOL_MAX_WORKERS": workers})

    assert loaded.config.meeting.threadpool_max_workers == 2
    assert len(loaded.warnings) == 1


def test_mended_value_that_the_environment_replaces_is_not_warned_of(file):
    """Only the value that is used can be a reason to warn."""
    path = file("[meeting]\nthreadpool_max_workers = true\n")

    assert load(path, {"WSDEVICE_MEETING_THREADPOOL_MAX_WORKERS": "4"}).warnings == ()


@pytest.mark.parametrize(
    ("name", "given", "used"),
    [
        ("meeting.transcript_push_interval_ms", 2999, 3000),
        ("meeting.transcript_push_interval_ms", 3000, 3000),
        ("meeting.transcript_push_interval_ms", 15000, 15000),
        ("meeting.transcript_push_interval_ms", 15001, 15000),
        ("meeting.transcript_push_interval_ms", -1, 3000),
        ("workflow.snapshot_on_register_delay_ms", -1, 0),
        ("workflow.snapshot_on_register_delay_ms", 0, 0),
        ("workflow.snapshot_on_register_delay_ms", 1.5, 1.5),
        ("workflow.snapshot_on_register_delay_ms", 60000, 60000),
        ("workflow.snapshot_on_register_delay_ms", 60000.5, 60000),
    ],
)
def test_intervals_are_brought_into_their_range(file, name, given, used):
    """A number out of range becomes the nearest in range, with a warning; one in range is left alone."""
    section, key = name.split(".")

    loaded = load(file(f"[{section}]\n{key} = {given}\n"), {})

    assert getattr(getattr(loaded.config, section), key) == used
    assert len(loaded.warnings) == (given != used)


@pytest.mark.parametrize("value", ["true", '"100"', "[]", "{}", "2024-01-01"])
@pytest.mark.parametrize("name", ["meeting.transcript_push_interval_ms", "workflow.snapshot_on_register_delay_ms"])
def test_interval_that_is_no_number_is_a_fault(file, name, value):
    """Only numbers can be brought into a range."""
    section, key = name.split(".")

    assert _fault_of(file(f"[{section}]\n{key} = {value}\n")).key == name
    assert _fault_of(**{SETTINGS[name].variable: "true"}).key == name


# --- device ids -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auth.allowed_devices", "heartbeat.control_ping_devices"])
def test_device_lists_are_brought_to_the_one_form(file, name):
    """Ids are trimmed, unquoted, lower case, and each is there once."""
    section, key = name.split(".")

    loaded = load(file(f"[{section}]\n{key} = [' AA:BB ', \"'aa:bb'\", '001']\n"), {})

    assert getattr(getattr(loaded.config, section), key) == ["aa:bb", "001"]


@pytest.mark.parametrize("bad", ["", " ", "x" * 65, "a\x01b"])
def test_bad_device_id_in_a_list_is_a_fault(file, bad):
    """An id that cannot name a device is shown."""
    fault = _fault_of(file(f"[auth]\nallowed_devices = ['001', {in_toml(bad)}]\n"))

    assert fault.key == "auth.allowed_devices"
    assert fault.expected == "device ids of 1 to 64 printable characters"
    assert fault.found.isprintable()


# --- any input ------------------------------------------------------------------------------------------------


def _load_or_faults(path: Path | None, environ: dict[str, str]) -> LoadedConfig | ConfigurationError:
    try:
        return load(path, environ)
    except ConfigurationError as error:
        return error


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from([setting.variable for setting in SETTINGS.values()]),
        st.text(max_size=20) | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["true", "[]", "['a']"]),
        max_size=4,
    )
)
def test_any_environment_is_a_configuration_or_faults(environ):
    """Whatever the variables hold, there is a configuration in its ranges, or faults that can be printed."""
    loaded = _load_or_faults(None, environ)

    if isinstance(loaded, ConfigurationError):
        assert loaded.faults
        assert all(str(fault).isprintable() for fault in loaded.faults)
    else:
        assert math.isfinite(loaded.config.workflow.snapshot_on_register_delay_ms)
        assert 1 <= loaded.config.meeting.threadpool_max_workers <= 64
        assert set(loaded.origins) <= set(SETTINGS)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(list(SETTINGS.values())),
    st.one_of(
        st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.lists(st.text(max_size=5), max_size=3)
    ),
)
def test_any_value_in_a_file_is_taken_or_a_fault(tmp_path_factory, setting, value):
    """A value of any TOML type either is what the configuration has, or a fault of that setting or a rule on it."""
    text = f"[{setting.section}]\n{setting.key} = {_toml(value)}\n"
    assert tomllib.loads(text)
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8")

    loaded = _load_or_faults(path, {})

    if isinstance(loaded, ConfigurationError):
        assert {fault.key.partition(".")[0] for fault in loaded.faults} <= {setting.section, "auth"}
        assert all(str(fault).isprintable() for fault in loaded.faults)
    else:
        assert list(loaded.origins) == [setting.name]


def _toml(value: object) -> str:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else str(value)
    return in_toml(value).replace("\x7f", "\\u007f")
