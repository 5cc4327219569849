"""Malicious `.keras` files are refused by name, and access nothing outside the file."""

import io
import json
import stat
import struct
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from colab_drive_tuner.errors import ModelError
from colab_drive_tuner.training.models.safe_loading import SAFE_KERAS, load_keras_file
from tests.training.flaky_store import NUMPY_2

pytestmark = NUMPY_2


def load(path, **options):
    """Load the file as `best_model` does."""
    return load_keras_file(path, what="The model", **options)


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    """Write a zip file with these members, which may repeat a name."""
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in members:
            made.writestr(name, content)
    return path


def saved(path, model=None):
    """Return the members of the file of a valid model."""
    model = model or keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="d")])
    model.save(path)
    with zipfile.ZipFile(path) as whole:
        return {name: whole.read(name) for name in whole.namelist()}


def test_a_valid_model_is_loaded(tmp_path):
    """The members that Keras wrote can be loaded after they were packed again."""
    members = saved(tmp_path / "a.keras")
    assert load(archive(tmp_path / "b.keras", members.items())).count_params() == 3


def link(name):
    """Return a member that is a symbolic link."""
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return member


ARCHIVES = {
    "above": ([("../evil", "x")], "leads outside the archive"),
    "above, further in": ([("assets/../../evil", "x")], "leads outside the archive"),
    "absolute": ([("/tmp/evil", "x")], "leads outside the archive"),
    "above, in Windows's way": ([("..\\..\\evil", "x")], "leads outside the archive"),
    "on a drive": ([("C:\\evil", "x")], "leads outside the archive"),
    "on a drive, relative": ([("C:evil", "x")], "leads outside the archive"),
    "a link": ([(link("assets/x"), "/etc")], "leads outside the archive"),
    "a name twice": ([("assets/x", "1"), ("assets/x", "2")], "'assets/x' twice"),
    "a name twice, in two ways": ([("assets/x", "1"), ("assets\\x", "2")], "'assets/x' twice"),
    "a bomb": ([("assets/big", b"\0" * (80 << 20))], "far more than its size"),
    "many small bombs": (
        [(f"assets/{n}", b"\0" * (1 << 20)) for n in range(80)],
        "far more than its size",
    ),
    "many members": ([(f"assets/{n}", "") for n in range(10_001)], "far more than its size"),
    "weights of another kind": ([("model.weights.npz", "x")], "which Keras does not write"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_that_leads_out_or_blows_up_is_refused(tmp_path, case):
    """An archive's names and sizes are checked before anything is unpacked."""
    members, words = ARCHIVES[case]
    whole = [*saved(tmp_path / "a.keras").items(), *members]
    with pytest.raises(ModelError, match=f"The model .*{words}"):
        load(archive(tmp_path / "b.keras", whole))


def test_a_false_size_does_not_bypass_the_limit(tmp_path):
    """No more than the declared size of a member is unpacked."""
    path = archive(tmp_path / "b.keras", [("config.json", b"[" * (80 << 20))])
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not a readable"):
        load(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [(8, 1), (10, 77), (10, 14)],
    ids=["encrypted", "unknown compression", "invalid LZMA"],
)
def test_a_member_that_cannot_be_unpacked_is_a_model_error(tmp_path, place, value):
    """Encryption and unknown or other compression raise a ModelError."""
    header = b"\x09\x04\x05\0\x5d\0\0\x80\0"  # of LZMA
    content = header + bytes([255] * 30)
    path = archive(tmp_path / "b.keras", [("config.json", content)], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + place] = value
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not a readable"):
        load(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a readable"),
        ("[" * 100_000, "not a readable"),
        ("9" * 10_000, "not a readable"),
        ("[]" + " " * (17 << 20), "larger than any model's"),
        ("[]", "cannot be loaded"),
        ("7", "cannot be loaded"),
        ('{"class_name": "Sequential"}', "needs the class|cannot be loaded"),
        ('{"class_name": "Sequential", "config": 5}', "needs the class|cannot be loaded"),
    ],
)
def test_an_invalid_configuration_is_a_model_error(tmp_path, content, words):
    """Broken, deeply nested, wrongly typed or too large configurations raise a ModelError."""
    members = {**saved(tmp_path / "a.keras"), "config.json": content}
    with pytest.raises(ModelError, match=f"The model .*{words}"):
        load(archive(tmp_path / "b.keras", members.items()))


def test_a_model_of_another_keras_that_cannot_be_loaded_names_both_versions(tmp_path):
    """A newer layer may have arguments that are unknown here; an invalid version is left out."""
    members = saved(tmp_path / "a.keras")
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["of_the_future"] = 1
    members["config.json"] = json.dumps(config)
    for metadata, words in (
        (
            '{"keras_version": "99.1.2"}',
            f"saved by Keras 99.1.2, and this is Keras {keras.__version__}",
        ),
        (r'{"keras_version": "9\u001b[2J"}', r"saved by Keras 9\\x1b\[2J, and"),
        ("[" * 100_000, "cannot be loaded: [^\n]*of_the_future[^\n]*$"),
    ):
        members["metadata.json"] = metadata
        with pytest.raises(ModelError, match=words):
            load(archive(tmp_path / "b.keras", members.items()))


def node(module, name, config, registered=None):
    """Return a serialized object."""
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": registered,
    }


def calling(function, **arguments):
    """Return a model that calls a function with these arguments while it is built."""
    first = node("keras.layers", "InputLayer", {"batch_shape": [None, 2], "name": "in"})
    second = node(
        "keras.layers",
        "Lambda",
        {"name": "call", "function": function, "arguments": arguments, "output_shape": [2]},
    )
    tensor = {"shape": [None, 2], "dtype": "float32", "keras_history": ["in", 0, 0]}
    fed = {"class_name": "__keras_tensor__", "config": tensor}
    layers = [
        {**first, "name": "in", "inbound_nodes": []},
        {**second, "name": "call", "inbound_nodes": [{"args": [fed], "kwargs": {}}]},
    ]
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [["call", 0, 0]]}
    return node("keras", "Functional", {"name": "m", "layers": layers, **ends})


def with_layer(module, name, config, registered=None):
    """Return a model with one layer, which may be anything that calls itself one."""
    layer = node(module, name, {"name": "x", **config}, registered)
    return node("keras", "Sequential", {"name": "m", "layers": [layer]})


def function(module, name):
    """Return a serialized function."""
    return node(module, "function", name, "function")


EVIL = "evil-was-here"
CONFIGS = {
    "a module": (node("os", "system", f"touch {EVIL}"), "class 'system'|cannot be loaded"),
    "a module's function": (calling(function("os", "mkdir")), "function 'mkdir'|cannot be loaded"),
    "a builtin": (calling(function("builtins", "eval")), "function 'eval'|cannot be loaded"),
    "a class of a module": (with_layer("subprocess", "Popen", {"args": ["id"]}), "class 'Popen'"),
    "under a name of its own": (
        with_layer("os", "system", {}, "builtins>eval"),
        "class '(eval|system)'|cannot be loaded",
    ),
    "a lambda": (
        calling({"class_name": "__lambda__", "config": {"value": "x", "closure": None}}),
        "Lambda layer",
    ),
    "a type of TensorFlow": (
        with_layer(
            "keras.layers",
            "InputLayer",
            {
                "batch_shape": {
                    "class_name": "__typespec__",
                    "spec_name": "system",
                    "module": "os",
                    "config": [["id"]],
                    "registered_name": None,
                }
            },
        ),
        "cannot be loaded",
    ),
    "switching off safety": (
        calling(function("keras.config", "enable_unsafe_deserialization")),
        "keras.config.enable_unsafe_deserialization, which is not part of a model",
    ),
    "another model": (
        calling(function("keras.models", "load_model"), safe_mode=False),
        "keras.models.load_model, which is not part",
    ),
    "another model, under the name of a function of the user's": (
        calling({**function("keras.models", "load_model"), "registered_name": "hostile>get"}),
        "keras.models.load_model, which is not part",
    ),
    "another model, by its class": (
        with_layer("keras.saving", "load_model", {"filepath": "x"}),
        "keras.saving.load_model, which is not part",
    ),
    "a download": (
        calling(function("keras.utils", "get_file"), origin="http://127.0.0.1:9/x"),
        "keras.utils.get_file, which is not part",
    ),
    "a picture written": (
        calling(function("keras.utils", "save_img"), path=EVIL),
        "keras.utils.save_img, which is not part",
    ),
    "a picture read": (
        calling(function("keras.preprocessing.image", "load_img"), path="/etc/passwd"),
        "keras.preprocessing.image.load_img, which is not part",
    ),
    "a configuration in an argument": (
        calling(function("keras.layers", "deserialize"), custom_objects=None),
        "keras.layers.deserialize, which is not part",
    ),
    "a builtin deserializer": (
        calling(function("builtins", "deserialize")),
        "builtins.deserialize, which is not part",
    ),
    "a SavedModel": (
        with_layer("keras.layers", "TFSMLayer", {"filepath": "/tmp/x"}),
        "keras.layers.TFSMLayer, which is not part",
    ),
    "a module of torch": (
        with_layer("keras.layers", "TorchModuleWrapper", {"module": "eA=="}),
        "keras.layers.TorchModuleWrapper, which is not part",
    ),
    "a vocabulary's file": (
        with_layer("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
        "takes a vocabulary from '/etc/passwd', a file on this machine",
    ),
    "a vocabulary from the network": (
        with_layer("keras.layers", "TextVectorization", {"vocabulary": "http://127.0.0.1:9/"}),
        "takes a vocabulary from 'http://127.0.0.1:9/'",
    ),
    "a hidden module": (
        with_layer("keras.src.utils.file_utils", "get_file", {}),
        "cannot be loaded",
    ),
    "a wrong value": (
        with_layer("keras.layers", "Dense", {"units": -5}),
        r"cannot be loaded: Received an invalid value for `units`.*units=-5",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_configuration_with_anything_but_model_parts_is_refused(tmp_path, monkeypatch, case):
    """An object or function that is not part of a model is refused by name, and not called."""
    monkeypatch.chdir(tmp_path)
    config, words = CONFIGS[case]
    members = {**saved(tmp_path / "a.keras"), "config.json": json.dumps(config)}
    path = archive(tmp_path / "b.keras", members.items())
    with pytest.raises(ModelError, match=f"^The model .*({words})"):
        load(path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.keras", "b.keras"}


def weights(path, change):
    """Return a model's file whose weights were changed by `change(file, name of a dataset)`."""
    members = saved(path.with_name("a.keras"))
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        names = []
        file.visititems(lambda name, it: names.append(name) if hasattr(it, "shape") else None)
        change(file, next(name for name in names if file[name].shape == (1,)))
    return archive(path, {**members, "model.weights.h5": content.getvalue()}.items())


def external(file, name):
    """Store the bias as bytes of another file."""
    del file[name]
    file.create_dataset(name, (1,), "float32", external=[("/etc/hostname", 0, 4)])


def external_link(file, name):
    """Link the layer's variables to another file."""
    parent = file[name].parent.name
    del file[parent]
    file[parent] = h5py.ExternalLink("/tmp/other.h5", "/")


def soft_link(file, name):
    """Replace the bias by a link."""
    file["elsewhere"] = np.zeros(1, "float32")
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def virtual(file, name):
    """Map the bias to another file."""
    layout = h5py.VirtualLayout((1,), "float32")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (1,))
    del file[name]
    file.create_virtual_dataset(name, layout)


def huge(file, name):
    """Let the bias claim a terabyte, of which nothing is stored."""
    del file[name]
    file.create_dataset(name, (1 << 38,), "float32", chunks=(1 << 20,))


def other_shape(file, name):
    """Give the bias another length than the layer has."""
    del file[name]
    file[name] = np.zeros(7, "float32")


def of_times(file, name):
    """Give the bias a type of HDF5 that numpy lacks."""
    del file[name]
    shape = h5py.h5s.create_simple((1,))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.UNIX_D32LE, shape)


def in_a_circle(file, _):
    """Make a group contain itself, which does no harm."""
    file["circle"] = file["/"]


ELSEWHERE = {
    external: "weights in another file",
    external_link: "weights behind a link",
    soft_link: "weights behind a link",
    virtual: "weights in another file",
    huge: "weights far larger than stored",
    other_shape: "cannot be loaded",
    of_times: "is not a readable .keras file",
}


@pytest.mark.parametrize("change", ELSEWHERE)
def test_weights_from_outside_the_file_are_refused(tmp_path, change):
    """Links, data of other files and false sizes raise a ModelError."""
    with pytest.raises(ModelError, match=f"The model .*{ELSEWHERE[change]}"):
        load(weights(tmp_path / "b.keras", change))


def test_a_group_that_contains_itself_is_visited_once(tmp_path):
    """The weights of a file with a group that contains itself are checked and loaded."""
    assert load(weights(tmp_path / "b.keras", in_a_circle)).count_params() == 3


def test_invalid_weights_are_refused(tmp_path):
    """Weights that are truncated or not HDF5 raise a ModelError."""
    members = saved(tmp_path / "a.keras")
    for content in (b"", b"x" * 100, members["model.weights.h5"][:500]):
        changed = {**members, "model.weights.h5": content}
        with pytest.raises(ModelError, match="The model is not a readable"):
            load(archive(tmp_path / "b.keras", changed.items()))


@pytest.mark.parametrize("version", ["3.13.1", "3.12.4", "3.9.0", "2.15.0", "3.13.0rc1"])
def test_a_keras_that_is_too_old_is_named(tmp_path, monkeypatch, version):
    """The error about an old Keras names the version to install; `safe_mode=False` loads anyway."""
    path = tmp_path / "a.keras"
    saved(path)
    monkeypatch.setattr(keras, "__version__", version)
    with pytest.raises(ModelError, match=rf"Keras {version} runs.*pip install 'keras>=3.13.2'"):
        load(path)
    assert load(path, safe_mode=False).count_params() == 3


@pytest.mark.parametrize("version", ["3.13.2", "3.14.0", "4.0", "3.20.0rc1"])
def test_a_keras_that_is_new_enough_is_accepted(tmp_path, monkeypatch, version):
    """The minimum version and all above it load models."""
    path = tmp_path / "a.keras"
    saved(path)
    monkeypatch.setattr(keras, "__version__", version)
    assert load(path).count_params() == 3


def test_the_minimum_keras_is_the_one_of_the_extra():
    """The version that pip installs for `colab-drive-tuner[tensorflow]` may load models."""
    floor = ".".join(map(str, SAFE_KERAS))
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert f'tensorflow = ["keras>={floor}"' in project.read_text()


@keras.saving.register_keras_serializable(package="hostile")
def get(x):
    """A user's function with the name of one of Keras's."""
    return x * 2


def _functional():
    given = keras.Input((4,))
    x = keras.ops.relu(keras.layers.Dense(4, kernel_regularizer="l2")(given))
    x = keras.layers.Lambda(keras.ops.tanh)(x)
    x = keras.layers.Lambda(get)(x + given)
    return keras.Model(given, keras.layers.Activation(keras.activations.gelu)(x))


def _recurrent():
    layers = [
        keras.Input((3, 2)),
        keras.layers.Bidirectional(keras.layers.LSTM(2)),
        keras.layers.Dense(1, dtype="mixed_float16", kernel_constraint="max_norm"),
    ]
    return keras.Sequential(layers)


def _compiled():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="relu")])
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    loss = keras.losses.Huber(delta=0.5)
    metrics = ["mae", keras.metrics.MeanSquaredError(), keras.losses.log_cosh]
    model.compile(keras.optimizers.Adam(rate), loss, metrics)
    model.optimizer.build(model.trainable_variables)
    return model


def _nested():
    inner = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()], name="inner")
    return keras.Sequential(
        [keras.Input((2,)), inner, keras.layers.Normalization(mean=1, variance=2)]
    )


@pytest.mark.parametrize("make", [_functional, _recurrent, _compiled, _nested])
def test_usual_parts_of_models_are_loaded(tmp_path, make):
    """Operations, wrappers, policies, schedules, losses, functions and nested models are loaded."""
    model = make()
    model.save(tmp_path / "a.keras")
    loaded = load(tmp_path / "a.keras")
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(one, other)
